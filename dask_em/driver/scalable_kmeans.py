"""k-means|| (Bahmani et al. 2012): rows of all the data that a uniform sample misses join it, with their weight."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dask_em.kernel import Holdout, Metric, Search, apart, far_rows, nearest, tally
from dask_em.reduction import Reducer
from dask_em.rows import Rows
from dask_em.statistics import Joint, Sample

__all__ = ["OVER_ALL_ROWS", "Wanted", "enriched"]

Array = np.ndarray[Any, Any]
OVER_ALL_ROWS = "k-means||"
ROUNDS, OVERSAMPLING = 5, 2  # rows drawn in a round, of each component; the authors' values
READS = ROUNDS + 1  # of all rows

logger = logging.getLogger("dask_em")


@dataclass(frozen=True)
class Wanted:
    """One start to be made."""

    metric: Metric
    components: int
    random: np.random.RandomState


def enriched(reducer: Reducer, sample: Sample, wanted: Sequence[Wanted], holdout: Holdout | None = None) -> list[Rows]:
    """Return, for each start, the sample and rows that it has nothing near to, weighted to stand for all.

    In each of five reads of all rows 2 k of them are drawn for each start, with probabilities in proportion to w d²,
    and become centres too; d is the distance to the nearest centre so far. A sixth finds the weight nearest to each.
    The rows of the sample that are nearest to a centre share its weight; where there are none, the centre itself has it
    all. All starts share each read.

    References
    ----------
    Bahmani, Moseley, Vattani, Kumar and Vassilvitskii (2012), "Scalable k-means++", PVLDB 5:622–633.
    """
    found = [_first(sample, each.random) for each in wanted]
    for _ in range(ROUNDS):
        searches = tuple(_search(each, values) for each, values in zip(wanted, found, strict=True))
        drawn = _total(reducer, far_rows, searches, holdout)
        found = [np.concatenate([values, new.values]) for values, new in zip(found, drawn.members, strict=True)]
    searches = tuple(_search(each, values) for each, values in zip(wanted, found, strict=True))
    counted = _total(reducer, tally, searches, holdout)
    told = f"k-means|| found {sum(map(len, found)):,} rows for {len(found)} start(s) in {READS} reads of all rows"
    logger.info(told, extra={"event": "k-means||", "reads": READS})
    return [
        _joined(sample, search, values, each.weights)
        for search, values, each in zip(searches, found, counted.members, strict=True)
    ]


def _first(sample: Sample, random: np.random.RandomState) -> Array:
    return np.asarray(sample.values[[random.choice(len(sample.values), p=sample.weight / sample.weight.sum())]])


def _search(wanted: Wanted, values: Array) -> Search:
    size, seed = OVERSAMPLING * wanted.components, int(wanted.random.randint(2**31))
    return Search(wanted.metric, wanted.metric.standard(values), size, seed)


def _total(reducer: Reducer, kernel: Any, searches: tuple[Search, ...], holdout: Holdout | None) -> Joint:
    asked = partial(kernel, searches, reducer.layout.tile_rows)
    total: Joint = reducer.total(asked if holdout is None else partial(apart, asked, holdout))
    return total


def _joined(sample: Sample, search: Search, centres: Array, weights: Array) -> Rows:
    """Return the sample with the centres (c, d) that it has no row near to, standing for weights (c,)."""
    which = nearest(search, sample.values)
    sampled = np.bincount(which, sample.weight, minlength=len(centres))
    missed = np.flatnonzero((sampled == 0) & (weights > 0))
    weight = np.concatenate([sample.weight * (weights[which] / sampled[which]), weights[missed]])
    return Rows.of(np.concatenate([sample.values, centres[missed]]), weight)
