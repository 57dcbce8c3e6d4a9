"""The driver's state, and its two pure transitions. The state is a record: it is the checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em._record import record, static
from dask_em.driver.outcome import Outcome
from dask_em.driver.stopping import Stopping
from dask_em.errors import InternalError
from dask_em.mixture import Mixture, MixtureParameters, MixtureStatistics
from dask_em.rows import Frame

__all__ = ["Entry", "Iteration", "State", "advance", "propose"]


@record
class Entry:
    """One line of the history: a pass, and what it said of the parameters that went into it."""

    number: int  # of the pass, from 1
    rows: int  # read in the pass
    log_likelihood: float  # nats per row
    objective: float  # log-likelihood plus log-prior, nats per row
    q: float  # Q(θt+1, θt), nats per row
    gain: float  # Q(θt+1, θt) − Q(θt, θt): what the next pass gains at least, nats per row
    change: float  # largest relative change of a parameter from θt to θt+1
    smallest: float  # the smallest expected number of rows of a component
    seconds: float = 0.0  # of the pass, shared with the other models in it
    bytes_read: int = 0


@record
class State:
    """A fit between two passes."""

    model: Mixture[Any] = static()
    frame: Frame
    params: MixtureParameters  # what the next pass evaluates
    stopping: Stopping = static()
    history: tuple[Entry, ...] = ()
    outcome: Outcome | None = None

    @property
    def running(self) -> bool:
        """Whether another pass is wanted."""
        return self.outcome is None

    @property
    def objective(self) -> float:
        """The objective of the parameters that went into the last pass, nats per row."""
        return self.history[-1].objective if self.history else float("-inf")

    def measured(self, seconds: float, bytes_read: int) -> State:
        """Return the state with the cost of its last pass noted."""
        last = dataclasses.replace(self.history[-1], seconds=seconds, bytes_read=bytes_read)
        return dataclasses.replace(self, history=(*self.history[:-1], last))


@dataclass(frozen=True)
class Iteration:
    """One model's part of one pass, as the caller of the driver sees it."""

    member: int  # which of the states
    entry: Entry
    state: State  # after the pass


def propose(state: State) -> list[tuple[Mixture[Any], MixtureParameters]]:
    """Return the models to evaluate in the next pass; none when the fit has ended."""
    return [(state.model, state.params)] if state.running else []


def advance(state: State, statistics: Sequence[MixtureStatistics]) -> State:
    """Return the state after a pass: one EM step, judged.

    Raises
    ------
    InternalError
        The statistics are not finite.
    """
    (stats,) = statistics
    model, old = state.model, state.params
    objective = model.objective(stats, old)
    new = model.maximize(stats, old)
    q = model.q(stats, new)
    entry = Entry(
        number=len(state.history) + 1,
        rows=stats.rows,
        log_likelihood=stats.log_likelihood / stats.weight,
        objective=objective,
        q=q,
        gain=q - model.q(stats, old),
        change=model.change(new, old),
        smallest=float(stats.counts.min()),
    )
    if not abs(objective) < float("inf"):
        raise InternalError(f"the objective of pass {entry.number} is {objective}; please report the data's shape")
    history = (*state.history, entry)
    outcome = state.stopping.judge(entry.number, objective - state.objective, entry.change)
    outcome = outcome and outcome.judged(np.flatnonzero(model.collapsed(new)).tolist())
    return dataclasses.replace(state, params=new, history=history, outcome=outcome)
