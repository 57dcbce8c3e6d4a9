"""All starts are fitted to the sample of pass 0 first: only the best of them, nearly there, see all rows."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from dask_em.driver import State, Stopping, iterate
from dask_em.execution import open_reducer
from dask_em.plan import ModelSize, plan
from dask_em.statistics import Sample
from dask_em.storage import Weighted, open_source

__all__ = ["warmed"]

WORTH = 2  # times the sample's rows: with fewer, the passes over all rows cost as little
PASSES, TOLERANCE = 300, 1e-7  # over the sample; nats per row: a flat ridge has to be walked to its end here
SECOND, SAME, NEAR = 2, 1e-4, 1e-2  # starts that go on at most; nats per row below the best that make another, good one

logger = logging.getLogger("dask_em")


def warmed(states: Sequence[State], sample: Sample, rows: int, size: ModelSize) -> list[State]:
    """Return the states that go on to all rows: from where the sample leads, with what the method has learned there.

    ``rows`` is the number of all rows; where the sample holds half of them, the states go on as they are.
    """
    if rows < WORTH * len(sample.values):
        return list(states)
    order = np.argsort(sample.index)
    source = Weighted(open_source(sample.values[order]), sample.weight[order])
    stopping = Stopping(TOLERANCE, max_passes=PASSES)
    fitted = [dataclasses.replace(state, stopping=stopping, reseeding=None) for state in states]
    with open_reducer(plan(source, source.atoms(), size).layout, once=True) as reducer:
        for iteration in iterate(fitted, reducer):
            fitted[iteration.member] = iteration.state
    chosen = _chosen(fitted)
    told = f"{len(states)} start(s) were fitted to a sample of {len(sample.values):,} rows; {len(chosen)} go on"
    logger.info(told, extra={"event": "sample fitted", "starts": len(states), "rows": len(sample.values)})
    return [_onward(states[i], fitted[i]) for i in sorted(chosen)]


def _chosen(fitted: Sequence[State]) -> list[int]:
    """Return the best start, and those near it that have come to another optimum."""
    order = sorted(range(len(fitted)), key=lambda i: _rank(fitted[i]), reverse=True)
    best = fitted[order[0]]
    others = [i for i in order[1:] if SAME < best.objective - fitted[i].objective < NEAR and not fitted[i].collapsed]
    return [order[0], *others[: SECOND - 1]]


def _rank(state: State) -> tuple[bool, float]:
    return not state.collapsed, state.objective


def _onward(state: State, fitted: State) -> State:
    """Return a state that begins anew where one over the sample has ended."""
    return dataclasses.replace(state, params=fitted.reached, method=fitted.method.carried())
