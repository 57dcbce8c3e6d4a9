"""The time that a job may take, in the forms that queues and workers want it in."""

from __future__ import annotations

import re

from dask_em.errors import InputError

__all__ = ["lifetime_of", "seconds_of", "told_in_hours", "told_in_minutes"]

_FORM = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")
MARGIN, SPREAD = 300, 600  # seconds
OF_SHORT = 0.2, 0.1  # as shares of a short walltime


def seconds_of(walltime: str) -> int:
    """Return the seconds of ``"HH:MM:SS"`` or ``"D-HH:MM:SS"``.

    Raises
    ------
    InputError
        It is neither.
    """
    found = _FORM.fullmatch(walltime)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0, 0)
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not whole:
        raise InputError(f"cluster.walltime is {walltime!r}; give hours, minutes and seconds, such as 04:00:00")
    return whole


def told_in_hours(seconds: int) -> str:
    """Return ``"HH:MM:SS"``, with more than 24 hours where it is more than a day."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def told_in_minutes(seconds: int) -> str:
    """Return ``"HH:MM"``, rounded up."""
    minutes = -(-seconds // 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def lifetime_of(walltime: int) -> tuple[int, int]:
    """Return the seconds after which a worker ends by itself, and by how many they are spread at random to both sides.

    Who ends by itself is taken off the scheduler's list at once, and is replaced; who is killed at the walltime takes
    its blocks along. The margin under the walltime is for the time before a worker counts (a job begins, Python loads
    from a slow file system) and for its taking leave. Workers whose jobs began together end spread over some minutes:
    a pass is never without all of them, and the queue has time to give others.
    """
    margin = min(MARGIN, OF_SHORT[0] * walltime)
    spread = min(SPREAD, OF_SHORT[1] * walltime)
    return max(1, int(walltime - margin - spread)), int(spread)
