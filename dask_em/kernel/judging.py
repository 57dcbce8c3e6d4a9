"""New rows for a model that is there: what pass 0 would refuse is looked for in the read that takes the sums."""

from __future__ import annotations

import dataclasses
from functools import reduce
from operator import add

import numpy as np

from dask_em._record import record
from dask_em.kernel.passes import summarize
from dask_em.kernel.reference import tiles
from dask_em.kernel.survey import LARGEST, extremes, fault
from dask_em.mixture import MixtureStatistics, PreparedMixture
from dask_em.rows import Rows
from dask_em.statistics import Extremes, Fault, Statistics

__all__ = ["Judged", "judge"]


@record
class Judged(Statistics):
    """What a model makes of new rows, and whether they can be used."""

    statistics: MixtureStatistics
    extremes: Extremes
    weights: Extremes  # of rows that have any, (1,)
    fault: Fault

    @property
    def rows(self) -> int:
        """Rows read, whatever their weight."""
        return self.statistics.rows

    @property
    def weight(self) -> float:
        """Σ w."""
        return self.statistics.weight


def judge(model: PreparedMixture, tile_rows: int, rows: Rows) -> Judged:
    """Judge a slab; one that will be refused adds nothing to the sums, since no kernel need bear what is in it."""
    found, reach = reduce(add, map(fault, tiles(rows, tile_rows))), extremes(rows.values)
    if found.row >= 0 or max(-reach.low.min(), reach.high.max()) > LARGEST:
        rows = dataclasses.replace(rows, values=np.zeros_like(rows.values), weight=np.zeros(len(rows)))
    weights = extremes(rows.weight[rows.weight > 0, None])
    return Judged(summarize((model,), tile_rows, rows).members[0], reach, weights, found)
