"""Rows far from every centre so far, and the weight nearest to each: the passes of k-means|| over all rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_em._record import record
from dask_em.kernel.reference import tiles
from dask_em.kernel.survey import hashed
from dask_em.rows import Frame, Rows
from dask_em.statistics import Joint, Sample, Statistics

__all__ = ["Metric", "Search", "Tally", "far_rows", "nearest", "tally"]

Array = np.ndarray[Any, Any]
GROUP = 64  # centres that a tile is compared with at a time
NOISE = 1e-13  # of a row's squared length: less of a squared distance is rounding
TILE = 1024  # rows of a sample that are looked at together


@record
class Metric:
    """How far apart two rows are: |(x − y) W|."""

    frame: Frame
    axes: Array  # (d, d), W

    def standard(self, values: Array) -> Array:
        """Map points (n, d) to coordinates in which distances are as usual."""
        return np.asarray(self.frame.enter(values) @ self.axes)

    def by_column(self) -> Metric:
        """Return the metric in which each column has the same spread as before, but for what columns have in common."""
        spread = np.sqrt((np.linalg.inv(self.axes) ** 2).sum(axis=0))
        return Metric(self.frame, np.diag(1 / spread))


@record
class Search:
    """One search for rows far from centres."""

    metric: Metric
    centres: Array  # (c, d), in the metric's coordinates
    size: int  # rows to find
    seed: int


@record
class Tally(Statistics):
    """How much weight is nearest to each centre."""

    weights: Array  # (c,)


def far_rows(searches: tuple[Search, ...], tile_rows: int, rows: Rows) -> Joint:
    """Return, for each search, rows drawn with probabilities in proportion to w d², without replacement.

    d is a row's distance to its nearest centre. Those rows are drawn whose −log(u) / (w d²) is smallest; u is uniform,
    and a function of the seed and the row's number: the same rows whatever the chunking (Efraimidis and Spirakis 2006,
    "Weighted random sampling with a reservoir", Information Processing Letters 97:181–185).
    """
    return _of_tiles(lambda tile: Joint(tuple(_far(search, tile_rows, tile) for search in searches)), tile_rows, rows)


def tally(searches: tuple[Search, ...], tile_rows: int, rows: Rows) -> Joint:
    """Return, for each search, the weight nearest to each of its centres."""

    def counted(search: Search, tile: Rows) -> Tally:
        which, _ = _nearest(search, tile_rows, tile)
        return Tally(np.bincount(which, tile.weight, minlength=len(search.centres)))

    return _of_tiles(lambda tile: Joint(tuple(counted(search, tile) for search in searches)), tile_rows, rows)


def nearest(search: Search, values: Array) -> Array:
    """Return which centre is nearest to each of a sample's rows (n, d), (n,)."""
    return np.concatenate([_nearest(search, TILE, tile)[0] for tile in tiles(Rows.of(values), TILE)])


def _of_tiles(kernel: Any, tile_rows: int, rows: Rows) -> Joint:
    parts = (kernel(tile) for tile in tiles(rows, tile_rows))
    total: Joint = next(parts)
    for part in parts:
        total = total + part
    return total


def _far(search: Search, tile_rows: int, rows: Rows) -> Sample:
    odds = rows.weight * _nearest(search, tile_rows, rows)[1]
    here = np.flatnonzero(odds > 0)
    uniform = ((hashed(rows.index[here], search.seed) >> np.uint64(12)) + 0.5) * 2.0**-52  # never 0, never 1
    with np.errstate(over="ignore"):
        keys = -np.log(uniform) / odds[here]
    if len(keys) > search.size:
        few = np.argpartition(keys, search.size - 1)[: search.size]
        here, keys = here[few], keys[few]
    values = np.asarray(rows.values[here], np.float64)
    ranks = keys.view(np.uint64)  # the bits of positive numbers are in the order of the numbers
    return Sample(search.size, ranks, rows.index[here], values, rows.weight[here]).ordered()


def _nearest(search: Search, tile_rows: int, rows: Rows) -> tuple[Array, Array]:
    """Return each row's nearest centre and the squared distance to it, (n,) both.

    A tile is filled up to its size: products of another shape may round otherwise, and ties would be broken otherwise.
    """
    workspace, (n, d) = rows.workspace, rows.values.shape
    x, y = (workspace.array(key, (tile_rows, d)) for key in ("entered", "standard"))
    np.subtract(rows.values, search.metric.frame.centre, out=x[:n])
    x[n:] = 0.0
    np.matmul(x, search.metric.axes, out=y)
    least, which, every = np.full(tile_rows, np.inf), np.zeros(tile_rows, np.int64), np.arange(tile_rows)
    for at in range(0, len(search.centres), GROUP):
        centres = search.centres[at : at + GROUP]
        scores = np.matmul(y, -2 * centres.T, out=workspace.array("scores", (tile_rows, len(centres))))
        scores += np.einsum("cd,cd->c", centres, centres)
        here = scores.argmin(axis=1)
        there = scores[every, here]
        closer = there < least
        least[closer], which[closer] = there[closer], here[closer] + at
    lengths = np.einsum("nd,nd->n", y, y)
    squares = lengths + least
    return which[:n], np.where(squares > NOISE * lengths, squares, 0.0)[:n]
