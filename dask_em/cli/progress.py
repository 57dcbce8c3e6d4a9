"""A line for each pass while a fit runs, and below them, on a terminal, what is going on now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress as Live
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from dask_em.config import Config
from dask_em.driver import Entry, State
from dask_em.execution import Workforce
from dask_em.report import Member, duration

__all__ = ["Progress", "line", "passes_left", "seconds_of", "who_computes"]


class Progress:
    """Shows each pass as it ends. Use it as a context manager around the fit."""

    def __init__(self, settings: Config, console: Console) -> None:
        self._fit, self._is_search = settings.fit, settings.is_search
        self._asked = None if settings.cluster.kind == "address" else settings.cluster.workers
        self._force: Workforce | None = None  # that was told last
        self._live = Live(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=console,
            refresh_per_second=4,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._live.add_task("pass 0: counting the rows, taking a sample, finding a start")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # of a terminal that was closed
            self._live.stop()

    def show_workers(self, force: Workforce | None) -> str | None:
        """Print who computes, where that is known and has changed; return it."""
        if force in {None, self._force}:
            return None
        self._force = force
        text = who_computes(force, self._asked)
        self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        return text

    def show(self, member: Member, entries: Sequence[Entry], state: State) -> str:
        """Print the line of a fit's last pass, and how it ended where others go on; return it."""
        changes = _changes(entries, self._fit.stop_on)
        most = self._fit.max_passes - len(entries)
        left = passes_left(changes, self._fit.tolerance, most)
        rest = seconds_of(left, entries)
        which = [f"{member.model:<24}"] if self._is_search else []
        which += [f"restart {member.restart:2d}"] if self._fit.restarts > 1 else []
        text = line(entries[-1], changes[-1], rest, "  ".join(which), at_most=0 < left == most)
        if state.dropped and state.outcome:
            text += f"  {state.outcome.sentence}"
        self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._live.update(self._task, description=f"pass {len(entries) + 1} of at most {self._fit.max_passes}")
        return text


def line(entry: Entry, change: float, rest: float, which: str = "", *, at_most: bool = False) -> str:
    """Return what there is to say of a pass of a model, with ``rest`` seconds to go, or ``at_most`` so many.

    Where ``rest`` is NaN nobody knows yet.
    """
    which = which and f"  {which}"
    seconds = max(entry.seconds, 1e-9)
    changed = "       -" if math.isnan(change) else f"{change:8.1e}"
    climbed = "log-likelihood" if entry.objective == entry.log_likelihood else "objective"  # regularised: never falls
    to_go = "after the next pass" if math.isnan(rest) else f"{'at most ' if at_most else ''}{duration(rest)}"
    return (
        f"pass {entry.number:3d}{which}  {climbed} {entry.objective:14.6f} nats/row  change {changed}  "
        f"{_rate(entry.rows / seconds)} rows/s  {entry.bytes_read / seconds / 1e9:6.2f} GB/s  "
        f"ETA {to_go}"
        + ("" if entry.kept else "  (a step too far, not kept)")
        + "".join(f"  {told}" for told in (*entry.fate, *entry.events))
    )


def who_computes(force: Workforce, asked: int | None = None) -> str:
    """Return how many workers there are, of as many as were ``asked`` for, in words."""
    if not force.workers:
        return "no worker is there: the passes wait for one"
    few = asked is not None and force.workers < asked
    number = f"{force.workers:,} of {asked:,}" if few else f"{force.workers:,}"
    threads = f"{force.threads:,} thread{'s' * (force.threads != 1)}"
    rest = "; the others join as they come" if few else ""
    return f"workers: {number}, with {threads} in all{rest}"


def passes_left(changes: Sequence[float], tolerance: float, most: int) -> int:
    """Foretell how many passes are left: EM's changes shrink by about the same factor each time."""
    known = [abs(change) for change in changes[-6:] if math.isfinite(change) and change]
    if known and known[-1] < tolerance:
        return 0
    if len(known) < 3 or known[-1] >= known[0] or tolerance <= 0:
        return most
    factor = (math.log(known[-1]) - math.log(known[0])) / (len(known) - 1)
    return min(most, math.ceil((math.log(tolerance) - math.log(known[-1])) / factor))


def seconds_of(passes: int, entries: Sequence[Entry]) -> float:
    """Foretell what passes will take: as long as those before. NaN where only the first is known.

    It compiles the kernel too, and reads what stays in memory from then on.
    """
    usual = entries[1:]
    if not usual:
        return math.nan if passes else 0.0
    return sum(entry.seconds for entry in usual) / len(usual) * passes


def _changes(entries: Sequence[Entry], stop_on: str) -> list[float]:
    """Return what the stopping rule looks at, for each pass."""
    if stop_on == "parameters":
        return [entry.change for entry in entries]
    changes, best = [], math.nan
    for entry in entries:  # a step that was not kept is told beside the best before it
        changes.append(entry.objective - best)
        best = entry.objective if entry.kept else best
    return changes


def _rate(number: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:6.2f} {unit}"
    return f"{number:6.0f}  "
