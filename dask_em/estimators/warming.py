"""All starts are fitted to the sample of pass 0 first: only the best of them, nearly there, see all rows."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np

from dask_em.driver import Known, Rivals, State, Stopping, iterate, known
from dask_em.driver.split_merge import improved
from dask_em.execution import open_reducer
from dask_em.kernel import Survey, log_density
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Reducer
from dask_em.rows import Rows
from dask_em.statistics import Sample
from dask_em.storage import Weighted, open_source

__all__ = ["over", "pays", "warmed"]

WORTH = 2  # times the sample's rows: with fewer, the passes over all rows cost as little
THOROUGH = Stopping(1e-7, max_passes=300)  # over the sample: a flat ridge has to be walked to its end here
BRIEF = Stopping(1e-5, max_passes=150)  # over the larger one, unless a hundredth of the own tolerance is less
SECOND, SAME, NEAR = 2, 1e-4, 1e-2  # starts that go on at most; nats per row below the best that make another, good one
DOUBT = 6.0  # standard errors of the difference between two models on the sample: so far they may have it wrong
ON_THE_SAMPLE = (
    "Dropped on the sample: its {title} is foretold to come to {hoped} at best, and that of {best} to {reached}."
)
TILE = 1024

logger = logging.getLogger("dask_em")


def pays(rows: int, sample: int) -> bool:
    """Say whether a sample has so much fewer rows than all that a fit of it costs little."""
    return rows >= WORTH * sample


def warmed(
    groups: Sequence[Sequence[State]],
    survey: Survey,
    larger: Sample,
    size: ModelSize,
    rivals: Rivals | None,
    *,
    move: bool,
) -> list[State]:
    """Return the states that go on to all rows: from where the sample leads, with what the method has learned there.

    ``groups`` are the restarts of each model. Models that cannot be the best of their ``rivals`` end here (None: all go
    on). Where ``move`` allows it, components are split and merged, and the fit from before goes along: all rows decide.
    The states that go on are fitted to the ``larger`` sample, if it has more rows. Where the sample holds half of all
    rows, the states go on as they are.
    """
    sample, states = survey.sample, [state for group in groups for state in group]
    if not pays(survey.rows, len(sample.values)):
        return states
    with over(sample, size) as reducer:
        restarts = iter(_fitted(states, reducer, THOROUGH))
        fitted = [[next(restarts) for _ in group] for group in groups]
        for each in fitted:
            _tell(each)
        ranks = [sorted(zip(each, group, strict=True), key=_rank) for each, group in zip(fitted, groups, strict=True)]
        best = [ranked[0][0] for ranked in ranks]
        moved = improved(best, reducer, sample.values, sample.weight) if move else best
    pairs = [
        pair
        for ranked, now in zip(ranks, moved, strict=True)
        for pair in (_chosen(ranked) if now is ranked[0][0] else [(now, ranked[0][1]), ranked[0]])
    ]
    chosen = [_onward(begun, end, survey, sample) for end, begun in pairs]
    if rivals is not None and len(groups) > 1:
        chosen = _contenders(chosen, sample, rivals)
    going = sum(not state.outcome for state in chosen)
    told = f"{len(states)} start(s) were fitted to a sample of {len(sample.values):,} rows; {going} go on"
    logger.info(told, extra={"event": "sample fitted", "starts": len(states), "rows": len(sample.values)})
    return _refined(chosen, survey, larger, size) if len(larger.values) > len(sample.values) else chosen


def _refined(states: Sequence[State], survey: Survey, larger: Sample, size: ModelSize) -> list[State]:
    """Return the states as fits of a larger sample leave them: fewer passes over all rows are left to do.

    Those that were dropped stay as they are.
    """
    going = [state for state in states if not state.outcome]
    asked = going[0].stopping  # the best always goes on, and all of them stop alike
    brief = asked.of_sample(THOROUGH.tolerance, BRIEF.tolerance, BRIEF.max_passes)
    with over(larger, size) as reducer:
        ends = iter(_fitted(going, reducer, brief))
    told = f"{len(going)} fit(s) went on over a sample of {len(larger.values):,} rows"
    logger.info(told, extra={"event": "sample fitted", "starts": len(going), "rows": len(larger.values)})
    return [state if state.outcome else _onward(state, next(ends), survey, larger) for state in states]


def over(sample: Sample, size: ModelSize) -> AbstractContextManager[Reducer]:
    """Return what adds up over the rows of a sample, in the order of the data."""
    order = np.argsort(sample.index)
    source = Weighted(open_source(sample.values[order]), sample.weight[order])
    return open_reducer(plan(source, source.atoms(), size).layout, once=True)


def _fitted(states: Sequence[State], reducer: Reducer, stopping: Stopping) -> list[State]:
    """Return the states as fits of the sample have left them."""
    fitted = [dataclasses.replace(state, stopping=stopping, reseeding=None) for state in states]
    for iteration in iterate(fitted, reducer):
        fitted[iteration.member] = iteration.state
    return fitted


def _rank(pair: tuple[State, State]) -> tuple[bool, float]:
    return pair[0].collapsed, -pair[0].objective


def _tell(fitted: Sequence[State]) -> None:
    """Tell what each restart of a model came to."""
    for number, state in enumerate(fitted, 1):
        passes = len(state.history)
        fields = {"model": state.name, "start": number, "objective": state.objective, "passes": passes}
        told = "%s: start %d came to %.6f nats per row of the sample in %d passes"
        logger.info(told, state.name, number, state.objective, passes, extra={"event": "start fitted", **fields})


def _chosen(ranked: Sequence[tuple[State, State]]) -> list[tuple[State, State]]:
    """Return a model's best start, and those near it that have come to another optimum.

    Each is given as its fit of the sample and its beginning, the best first.
    """
    (best, _), *others = ranked
    near = [pair for pair in others if SAME < best.objective - pair[0].objective < NEAR and not pair[0].collapsed]
    return [ranked[0], *near[: SECOND - 1]]


def _onward(state: State, fitted: State, survey: Survey, sample: Sample) -> State:
    """Return a state that begins anew where one over a sample has ended."""
    foretold = None if fitted.collapsed else _foretold(fitted, survey, len(sample.values))
    return dataclasses.replace(state, params=fitted.reached, method=fitted.method.carried(), foretold=foretold)


def _foretold(fitted: State, survey: Survey, rows: int) -> Known | None:
    """Return what a fit of the sample says of one of all rows.

    A fit of n rows explains them better by ν/2n nats per row than the best of the family explains all others, and the
    others worse by as much (Akaike 1974).
    """
    found = known(fitted, survey.weight)
    if found is None:
        return None
    here, there = found.parameters / (2 * rows), found.parameters / (2 * survey.rows)
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
    judged = rivals.dropped(state, best, state.foretold.hoping(margin), ON_THE_SAMPLE)
    if judged.dropped and judged.outcome:
        told = {"event": "model dropped", "model": state.name}
        logger.info("%s: %s", state.name, judged.outcome.sentence, extra=told)
    return judged
