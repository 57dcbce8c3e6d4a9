"""The sample of pass 0 stays, and finds the next parameters between two passes, where it knows enough of all rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dask_em.driver import Foresight, State, foreseen
from dask_em.estimators.warming import over
from dask_em.kernel import Survey
from dask_em.plan import ModelSize
from dask_em.statistics import Sample

__all__ = ["foreseeing", "with_foresight"]

PAYS = 5  # times the sample's rows: with fewer, passes over all rows cost less than those over the sample
KNOWS = 50  # rows of the sample for each parameter: with fewer, its flat directions are not those of all rows


def with_foresight(state: State, survey: Survey, sample: Sample) -> State:
    """Return a state that the sample helps on, if it is large enough for that, and small beside all rows."""
    rows = len(sample.values)
    few = survey.rows < PAYS * rows or rows < KNOWS * state.model.degrees_of_freedom(state.params)
    return state if few or not state.running else dataclasses.replace(state, foresight=Foresight())


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
