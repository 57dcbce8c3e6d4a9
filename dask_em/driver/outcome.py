"""How a fit ended, as a sentence: what happened, likely why, what to try."""

from __future__ import annotations

from dask_em._record import record

__all__ = ["Outcome"]


@record
class Outcome:
    """How a fit ended.

    ``kind`` is one of converged, noise (no rise can be told from rounding any more), max_passes, max_minutes, emptied,
    collapsed, dropped (another model is better), stopped (by the caller), fixed (no pass was asked for), updated (with
    new rows).
    """

    kind: str
    sentence: str

    @property
    def converged(self) -> bool:
        """Whether the stopping rule was met, or nothing is left that could be told."""
        return self.kind in {"converged", "noise"}
