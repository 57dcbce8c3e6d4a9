"""One fit, from data to fitted mixtures: the order of the steps and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dask_em.driver import Budget, Checkpoint, Iteration, Rivals, State, Stopping, iterate, passes
from dask_em.driver.examination import examine, require_rows
from dask_em.errors import InputError
from dask_em.estimators.fitted import Fitted, model_size
from dask_em.estimators.foreseeing import foreseeing
from dask_em.estimators.orders import Order
from dask_em.estimators.reading import reading, source_of, table
from dask_em.estimators.resuming import Kept, begun_with, data_digest, resumed
from dask_em.estimators.starting import Begun, begin, spanning
from dask_em.execution import environment
from dask_em.families import Covariance, Gaussian, GaussianParameters
from dask_em.mixture import Free, Mixture, MixtureParameters, MixtureStatistics
from dask_em.plan import ModelSize, Plan
from dask_em.reduction import Reducer

__all__ = ["Reached", "fitting"]


@dataclass(frozen=True)
class Reached:
    """How far the models of a fit have come."""

    states: tuple[State, ...]
    names: tuple[str, ...] | None  # of the columns
    rivals: Rivals
    budget: Budget

    @cached_property
    def best(self) -> State:
        """The best state of all."""
        return min(self.states, key=self.rivals.rank)

    def fitted(self, state: State) -> Fitted:
        """Return a state as a fitted mixture."""
        outcome, rows = state.outcome or self.budget.outcome(), self.rivals.rows
        ended = state.model, state.frame, state.reached, self.names, rows, state.history, outcome
        return Fitted(*ended, environment(), _fitted_alone(state.statistics))


def _fitted_alone(stats: MixtureStatistics | None) -> MixtureStatistics | None:
    """Return the sums of the rows that are fitted, without those that are held out."""
    if stats is None or stats.held_out is None:
        return stats
    return dataclasses.replace(stats, rows=stats.rows - stats.held_out.rows, held_out=None)


def fitting(
    order: Order, data: Any, sample_weight: Any, client: Any, kept: Kept | None = None
) -> Generator[tuple[Iteration | None, Reached]]:
    """Yield each state's part of each pass, and how far all have come; where no pass is left, that alone."""
    settings, budget = order.common, Budget(order.common["max_minutes"])
    source = source_of(table(data), sample_weight=sample_weight)
    for start in order.starts:
        start.given(source.schema.features)  # refused before anything is read
        start.require_columns(source.schema.names)
    size, strict = order.size(source.schema.features), settings["reproducible"] == "strict"
    with (
        kept.owned() if kept else nullcontext() as earlier,
        reading(source, size, client, strict=strict) as reducer,
    ):
        now = _now(order, reducer, size) if kept else None
        stopping = Stopping(float(settings["tol"]), str(settings["stop_on"]), settings["max_iter"])
        if now and earlier:
            found = resumed(earlier, now, stopping, strict)
            begun = Begun(found.states, found.weight, found.holdout, found.sample)
        else:
            begun = begin(order, reducer, stopping)
        states, rivals = list(begun.states), Rivals(order.criterion, begun.weight)
        order.require_rows(begun.weight)

        def reached() -> Reached:
            return Reached(tuple(states), source.schema.names, rivals, budget)

        def save() -> None:
            if kept and now:
                sample = begun.sample if any(state.foresight for state in states) else None
                begun_now = dataclasses.replace(now, weight=begun.weight, holdout=begun.holdout)
                kept.checkpoints.save(dataclasses.replace(begun_now, states=tuple(states), sample=sample))

        if not earlier:
            save()
        if not any(state.running for state in states):
            yield None, reached()
        remaining = rivals.remaining if order.drop and settings["accelerate"] else list
        with foreseeing(begun.sample, size, begun.weight) as foreseen:
            advanced = passes(states, reducer, begun.holdout, remaining, foreseen)
            for parts in _within(budget, states, advanced):
                order.require_held_out(parts[0].entry.held_out, reducer.layout)
                save()
                for part in parts:
                    yield part, reached()


def _within(budget: Budget, states: list[State], advanced: Iterator[list[Iteration]]) -> Iterator[list[Iteration]]:
    """Yield all parts of each pass, with the states brought up to date, until the time is spent."""
    for parts in advanced:
        for part in parts:
            states[part.member] = part.state
        yield parts
        if budget.spent:
            break


def _now(order: Order, reducer: Reducer, size: ModelSize) -> Checkpoint:
    """Return what a checkpoint says beside the states."""
    layout = reducer.layout
    told = begun_with(order.settings), Plan(layout, size).digest, data_digest(layout), layout.rows, environment()
    return Checkpoint((), 0.0, *told)


def single(covariance: Covariance, data: Any, sample_weight: Any, client: Any) -> tuple[Any, Any]:
    """Return the mean (d,) and the covariance of one component: pass 0, and one pass about its mean."""
    source = source_of(data, sample_weight=sample_weight)
    features = source.schema.features
    model = Mixture(Gaussian(covariance, 0.0), Free())
    with reading(source, model_size(model, 1, features), client) as reducer:
        survey = examine(reducer, 2, seed=0)
        require_rows(survey, 1)
        frame = model.components.frame(survey.mean)
        unit = covariance.add(np.zeros(covariance.shape(1, features)), 1.0)
        begun = spanning(MixtureParameters(np.ones(1), GaussianParameters(np.zeros((1, features)), unit)), survey)
        (iteration,) = iterate([State(model, frame, begun, Stopping(0.0, max_passes=1))], reducer)
    components = iteration.state.reached.components
    if model.components.collapsed(components).any():
        raise InputError(
            f"{source.name} has no spread in some direction (a constant or dependent column, or no more rows than "
            "columns), so that no normal density fits it best; leave such columns out or take a simpler covariance_type"
        )
    return frame.leave(components.means)[0], components.covariances[0]
