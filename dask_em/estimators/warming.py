"""All starts are fitted to the sample of pass 0 first: only the best of them, nearly there, see all rows."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from dask_em.driver import Known, Outcome, Rivals, State, Stopping, iterate, known
from dask_em.execution import open_reducer
from dask_em.kernel import Survey, log_density
from dask_em.plan import ModelSize, plan
from dask_em.rows import Rows
from dask_em.statistics import Sample
from dask_em.storage import Weighted, open_source

__all__ = ["warmed"]

WORTH = 2  # times the sample's rows: with fewer, the passes over all rows cost as little
PASSES, TOLERANCE = 300, 1e-7  # over the sample; nats per row: a flat ridge has to be walked to its end here
SECOND, SAME, NEAR = 2, 1e-4, 1e-2  # starts that go on at most; nats per row below the best that make another, good one
DOUBT = 6.0  # standard errors of the difference between two models on the sample: so far they may have it wrong

TILE = 1024

logger = logging.getLogger("dask_em")


def warmed(
    groups: Sequence[Sequence[State]], survey: Survey, size: ModelSize, rivals: Rivals, drop: bool
) -> list[State]:
    """Return the states that go on to all rows: from where the sample leads, with what the method has learned there.

    ``groups`` are the restarts of each model. Where ``drop`` allows it, models that cannot be the best end here. Where
    the sample holds half of all rows, the states go on as they are.
    """
    sample, states = survey.sample, [state for group in groups for state in group]
    if survey.rows < WORTH * len(sample.values):
        return states
    fitted = iter(_fitted(states, sample, size))
    chosen: list[State] = []
    for group in groups:
        chosen += _chosen(group, [next(fitted) for _ in group], len(sample.values), survey.rows)
    told = f"{len(states)} start(s) were fitted to a sample of {len(sample.values):,} rows; {len(chosen)} go on"
    logger.info(told, extra={"event": "sample fitted", "starts": len(states), "rows": len(sample.values)})
    return _contenders(chosen, sample, rivals) if drop and len(groups) > 1 else chosen


def _fitted(states: Sequence[State], sample: Sample, size: ModelSize) -> list[State]:
    """Return the states as fits of the sample have left them."""
    order = np.argsort(sample.index)
    source = Weighted(open_source(sample.values[order]), sample.weight[order])
    stopping = Stopping(TOLERANCE, max_passes=PASSES)
    fitted = [dataclasses.replace(state, stopping=stopping, reseeding=None) for state in states]
    with open_reducer(plan(source, source.atoms(), size).layout, once=True) as reducer:
        for iteration in iterate(fitted, reducer):
            fitted[iteration.member] = iteration.state
    return fitted


def _chosen(group: Sequence[State], fitted: Sequence[State], sample: int, rows: int) -> list[State]:
    """Return a model's best start, and those near it that have come to another optimum."""
    order = sorted(range(len(fitted)), key=lambda i: _rank(fitted[i]), reverse=True)
    best = fitted[order[0]]
    others = [i for i in order[1:] if SAME < best.objective - fitted[i].objective < NEAR and not fitted[i].collapsed]
    chosen = sorted([order[0], *others[: SECOND - 1]])
    for i, state in enumerate(fitted):
        _tell(state, i + 1, chosen.index(i) + 1 if i in chosen else None)
    return [_onward(group[i], fitted[i], sample, rows) for i in chosen]


def _tell(state: State, number: int, onward: int | None) -> None:
    told = "ends here" if onward is None else f"goes on as number {onward}"
    fields = {"event": "start fitted", "model": state.name, "start": number, "objective": state.objective}
    logger.info(
        "%s: start %d came to %.6f nats per row of the sample in %d passes, and %s",
        *(state.name, number, state.objective, len(state.history), told),
        extra={**fields, "passes": len(state.history), "onward": onward},
    )


def _rank(state: State) -> tuple[bool, float]:
    return not state.collapsed, state.objective


def _onward(state: State, fitted: State, sample: int, rows: int) -> State:
    """Return a state that begins anew where one over the sample has ended."""
    foretold = None if fitted.collapsed else _foretold(fitted, sample, rows)
    return dataclasses.replace(state, params=fitted.reached, method=fitted.method.carried(), foretold=foretold)


def _foretold(fitted: State, sample: int, rows: int) -> Known | None:
    """Return what a fit of the sample says of one of all rows.

    A fit of n rows explains them better by ν/2n nats per row than the best of the family explains all others, and the
    others worse by as much (Akaike 1974).
    """
    found = known(fitted, rows)
    if found is None:
        return None
    here, there = found.parameters / (2 * sample), found.parameters / (2 * rows)
    level = found.log_likelihood - here
    return dataclasses.replace(found, log_likelihood=level + there, held_out=level - there)


def _contenders(chosen: Sequence[State], sample: Sample, rivals: Rivals) -> list[State]:
    """Return the states, those with their end told that the sample says cannot be the best."""
    best = min(range(len(chosen)), key=lambda i: rivals.value(chosen[i]))
    rows = Rows.of(sample.values, sample.weight)
    densities = [log_density(state.model.prepare(state.params, state.frame), TILE, rows) for state in chosen]
    judged = []
    for state, density in zip(chosen, densities, strict=True):
        difference = density - densities[best]
        variance = np.average((difference - difference.mean()) ** 2, weights=sample.weight)
        margin = NEAR + DOUBT * float(np.sqrt(variance / len(difference)))
        judged.append(state if state is chosen[best] else _judged(state, chosen[best], rivals, margin))
    return judged


def _judged(state: State, best: State, rivals: Rivals, margin: float) -> State:
    if state.foretold is None:
        return state
    hoped, reached = rivals.criterion.value(state.foretold.hoping(margin)), rivals.value(best)
    if not hoped > reached:
        return state
    told = (
        f"Dropped on the sample: its {rivals.criterion.title} over all rows is foretold as {hoped:,.6g} at the least, "
        f"and that of {best.name} as {reached:,.6g}."
    )
    logger.info("%s: %s", state.name, told, extra={"event": "model dropped", "model": state.name})
    return dataclasses.replace(state, outcome=Outcome("dropped", told))
