"""The driver's state, and its two pure transitions. The state is a record: it is the checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dask_em._record import record, static
from dask_em.driver import fates
from dask_em.driver.acceleration import EM, ROUNDING, Foresight, Method, Point, Verdict
from dask_em.driver.criteria import Known
from dask_em.driver.outcome import Outcome
from dask_em.driver.reseeding import Reseeding
from dask_em.driver.stopping import CALM, Stopping, Watched
from dask_em.errors import InternalError
from dask_em.mixture import Mixture, MixtureParameters, MixtureStatistics
from dask_em.rows import Frame

__all__ = ["Entry", "Iteration", "State", "advance", "ended", "propose"]


@record
class Entry:
    """One line of the history: a pass, and what it said of the parameters that went into it."""

    number: int  # of the pass, from 1
    rows: int  # read in the pass
    log_likelihood: float  # nats per row
    objective: float  # log-likelihood plus log-prior, nats per row
    q: float  # Q(θt+1, θt), nats per row
    gain: float  # Q(θt+1, θt) − Q(θt, θt): what the next pass gains at least if none was moved, nats per row
    change: float  # largest relative change of a parameter from θt to θt+1
    smallest: float  # the smallest expected number of rows of a component
    seconds: float = 0.0  # of the pass, shared with the other models in it
    bytes_read: int = 0
    left: float = float("nan")  # what is still to gain as the method sees it, nats per row; NaN: it cannot tell
    kept: bool = True  # whether the fit goes on from these parameters: False where an accelerated step fell short
    fate: tuple[str, ...] = ()  # a sentence for each component that fares otherwise than after the pass before
    events: tuple[str, ...] = ()  # what went wrong in the pass and was mended, a sentence each
    jump: bool = False  # whether components were moved after the pass, so that the next says little
    held_out: float = float("nan")  # log-likelihood of rows that no model is fitted to, nats per row; NaN: none are

    @property
    def entropy(self) -> float:
        """The mean entropy of the responsibilities, nats per row: log p(X|θ) = Q(θ, θ) + entropy."""
        return self.objective - (self.q - self.gain)


@record
class State:
    """A fit between two passes."""

    model: Mixture[Any] = static()
    frame: Frame
    params: MixtureParameters  # what the next pass evaluates, unless a sample foresees better ones
    stopping: Stopping = static()
    history: tuple[Entry, ...] = ()
    outcome: Outcome | None = None
    standing: tuple[str, ...] = ()  # (k,), how each component fares after the last pass; empty: well
    reseeding: Reseeding | None = None  # what it takes to move components that emptied or collapsed; None: keep them
    method: Method = dataclasses.field(default_factory=EM)  # how the next parameters are found
    kept: Point | None = None  # the best parameters so far: what a method that tries others comes back to
    foresight: Foresight | None = None  # of a sample that finds the next parameters; None: the method alone does
    name: str = static(default="")  # of the model among others
    foretold: Known | None = None  # what the sample says of all rows, where the fit ended there
    lightest: float = 1.0  # the smallest weight of a row that has any

    @property
    def running(self) -> bool:
        """Whether another pass is wanted."""
        return self.outcome is None

    @property
    def objective(self) -> float:
        """The objective of the best parameters that a pass has evaluated since the last jump, nats per row."""
        return float("-inf") if self.kept is None else self.kept.objective

    @property
    def reached(self) -> MixtureParameters:
        """The parameters to end with: EM's step from the best that were evaluated, which lowers nothing."""
        return self.params if self.kept is None else self.kept.step

    @property
    def statistics(self) -> MixtureStatistics | None:
        """The sums that ``reached`` is the M-step of; None where no pass was made since the start or a jump."""
        return None if self.kept is None else self.kept.statistics

    @property
    def collapsed(self) -> bool:
        """Whether a component has collapsed, so that the objective says little."""
        return fates.COLLAPSED in self.standing

    @property
    def dropped(self) -> bool:
        """Whether the fit has ended because another one is better."""
        return self.outcome is not None and self.outcome.kind == "dropped"

    def measured(self, seconds: float, bytes_read: int, events: tuple[str, ...] = ()) -> State:
        """Return the state with the cost and the troubles of its last pass noted."""
        last = dataclasses.replace(self.history[-1], seconds=seconds, bytes_read=bytes_read, events=events)
        return dataclasses.replace(self, history=(*self.history[:-1], last))


@dataclass(frozen=True)
class Iteration:
    """One model's part of one pass, as the caller of the driver sees it."""

    member: int  # which of the states
    entry: Entry
    state: State  # after the pass

    def __str__(self) -> str:
        told = (
            f"start {self.member}, pass {self.entry.number}: "
            f"log-likelihood {self.entry.log_likelihood:.6f} nats per row, "
            f"change {self.entry.change:.2e}, {self.entry.seconds:.2f} s"
        )
        return "; ".join((told, *self.entry.fate, *self.entry.events))


def propose(state: State) -> list[tuple[Mixture[Any], MixtureParameters]]:
    """Return the models to evaluate in the next pass; none when the fit has ended."""
    return [(state.model, state.params)] if state.running else []


def advance(state: State, statistics: Sequence[MixtureStatistics]) -> State:
    """Return the state after a pass: its parameters judged, and what the method makes of them.

    Raises
    ------
    InternalError
        The statistics are not finite.
    """
    (stats,) = statistics
    model, old = state.model, state.params
    number, objective = len(state.history) + 1, model.objective(stats, old)
    if not abs(objective) < float("inf"):
        raise InternalError(f"the objective of pass {number} is {objective}; please report the data's shape")
    new = model.maximize(stats, old)
    q = model.q(stats, new)
    point = Point(old, new, objective, q - model.q(stats, old), stats)
    verdict = _verdict(state, point, stats)
    entry = Entry(
        number=number,
        rows=stats.rows,
        log_likelihood=model.log_likelihood(stats, old),
        objective=objective,
        q=q,
        gain=point.gain,
        change=model.change(new, old),
        smallest=float(stats.counts.min()),
        left=verdict.left,
        kept=verdict.kept is point,
        held_out=_held_out(stats),
    )
    stepped = dataclasses.replace(
        state,
        params=verdict.candidate,
        history=(*state.history, entry),
        method=verdict.method,
        kept=verdict.kept,
    )
    return _judged(stepped, stats, verdict)


def _held_out(stats: MixtureStatistics) -> float:
    score = stats.held_out
    return score.log_likelihood / score.weight if score and score.weight > 0 else float("nan")


def _verdict(state: State, point: Point, stats: MixtureStatistics) -> Verdict:
    """Return what the method makes of a pass; where a component has just died, EM's own step is the only safe one."""
    method, kept = state.method, state.kept
    standing = fates.standing(state.model, point.step, stats, state.lightest)
    if not any(standing) or standing == state.standing:
        return method.judge(state.model, kept, point)
    if kept is None or kept.accepts(point):
        return Verdict(method.afresh(), point, point.step)
    return Verdict(method.afresh(), kept, kept.step)  # the step was too long


def _judged(state: State, stats: MixtureStatistics, verdict: Verdict) -> State:
    """Return the state with its components' fates told, moved where that is wanted, and the end where it is reached."""
    entry, reseeding, best = state.history[-1], state.reseeding, verdict.kept
    standing = fates.standing(state.model, best.step, stats, state.lightest) if entry.kept else state.standing
    told = fates.news(state.standing, standing)
    last = entry.number >= state.stopping.max_passes
    chosen = [] if reseeding is None or last else reseeding.candidates(standing)
    params, method, kept, foresight = state.params, state.method, state.kept, state.foresight
    if reseeding is not None and chosen:
        params, reseeding = reseeding.move(state.model, state.frame, best.step, chosen, standing)
        method, kept, foresight = method.afresh(), None, foresight and Foresight(foresight.damping)
        standing = tuple("" if i in chosen else fate for i, fate in enumerate(standing))
        told += tuple(f"component {i} was moved to where the data is worst explained" for i in chosen)
    judged = dataclasses.replace(
        state,
        params=params,
        history=(*state.history[:-1], dataclasses.replace(entry, fate=told, jump=bool(chosen))),
        standing=standing,
        reseeding=reseeding,
        method=method,
        kept=kept,
        foresight=foresight,
    )
    return dataclasses.replace(judged, outcome=ended(judged))


def ended(state: State) -> Outcome | None:
    """Return how a fit has ended after its last pass, by its stopping rule; None: it goes on."""
    if state.history and state.history[-1].jump:
        return None
    outcome = state.stopping.judge(_watched(state.history))
    if outcome is None:
        return None
    moves = state.reseeding.moves if state.reseeding else ()
    narrow = state.model.components.narrow(state.reached.components)
    return fates.judged(outcome, state.standing, moves, narrow)


def _watched(history: Sequence[Entry]) -> Watched:
    """Return what the last pass says of the end."""
    left = tuple(entry.left for entry in history[-CALM:])
    if not history or not history[-1].kept or any(entry.jump for entry in history[-2:-1]):
        return Watched(len(history), left=left)
    kept = [entry.objective for entry in history if entry.kept]
    rises = [float("inf")] * 2 + [after - before for before, after in pairwise(kept)]
    noise = ROUNDING * (1.0 + abs(kept[-1]))
    return Watched(len(history), rises[-1], rises[-2], history[-1].change, left, noise)
