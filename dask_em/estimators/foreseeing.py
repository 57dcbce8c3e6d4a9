"""The sample of pass 0 stays, and finds the next parameters between two passes, where it knows enough of all rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dask_em.driver import Foresight, State, foreseen
from dask_em.estimators.warming import over
from dask_em.plan import ModelSize
from dask_em.statistics import Sample

__all__ = ["foreseeing", "with_foresight"]

MANY, PAYS = 500_000, 5  # rows, and times the sample's: with fewer, passes over all rows cost less than over the sample
KNOWS = 50  # rows of the sample for each parameter: with fewer, its flat directions are not those of all rows


def with_foresight(states: Sequence[State], rows: int, sample: Sample) -> list[State]:
    """Return the states, those ready for it that a sample of so many rows helps on.

    Weights count: few heavy rows are few.
    """
    if rows < max(MANY, PAYS * len(sample.values)):
        return list(states)
    weight = sample.weight / sample.weight.max()
    known = weight.sum() ** 2 / (weight**2).sum()  # effective rows, Kish (1965), section 11.7
    return [
        dataclasses.replace(state, foresight=Foresight())
        if state.running and known >= KNOWS * state.model.degrees_of_freedom(state.params)
        else state
        for state in states
    ]


@contextmanager
def foreseeing(
    sample: Sample | None, size: ModelSize, weight: float
) -> Iterator[Callable[[Sequence[State]], list[State]]]:
    """Give what puts the parameters that the sample foresees into states before a pass; without one, nothing does.

    ``weight`` is the total weight of the rows that are fitted.
    """
    if sample is None:
        yield list
        return
    each = weight / float(sample.weight.sum())
    with over(sample, size) as reducer:
        yield lambda states: [foreseen(state, reducer, each) for state in states]
