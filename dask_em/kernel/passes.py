"""The passes of a fitted or unfitted model over a slab: the E-step and the predictions, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dask_em._record import record
from dask_em.mixture import PreparedMixture
from dask_em.rows import Rows
from dask_em.statistics import Joint, Statistics

__all__ = ["Score", "labels", "log_density", "responsibilities", "score", "summarize", "tiles"]

Array = np.ndarray[Any, Any]


def tiles(rows: Rows, tile_rows: int) -> Iterator[Rows]:
    """Cut a slab into tiles."""
    for start in range(0, len(rows), tile_rows):
        yield rows[start : start + tile_rows]


def summarize(models: tuple[PreparedMixture, ...], tile_rows: int, rows: Rows) -> Joint:
    """Return the statistics of each model: one look at the rows serves them all."""
    parts = (Joint(tuple(model.summarize(tile) for model in models)) for tile in tiles(rows, tile_rows))
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def log_density(model: PreparedMixture, tile_rows: int, rows: Rows) -> Array:
    """Return log p(x) of each row in nats, (n,)."""
    out = np.empty(len(rows))
    for tile in tiles(rows, tile_rows):
        out[_place(tile, rows)] = model.evaluate(tile)[0]
    return out


def responsibilities(model: PreparedMixture, tile_rows: int, rows: Rows) -> Array:
    """Return the posterior probability of each component, (n, k)."""
    out = np.empty((len(rows), len(model.log_weights)))
    for tile in tiles(rows, tile_rows):
        out[_place(tile, rows)] = model.evaluate(tile)[1].T
    return out


@record
class Score(Statistics):
    """How well a model explains rows."""

    weight: float
    log_likelihood: float  # Σ w log p(x), nats


def score(model: PreparedMixture, tile_rows: int, rows: Rows) -> Score:
    """Return the log-likelihood of a slab and its weight."""
    return Score(float(rows.weight.sum()), float(rows.weight @ log_density(model, tile_rows, rows)))


def labels(model: PreparedMixture, tile_rows: int, rows: Rows) -> Array:
    """Return the most probable component of each row, (n,) int64."""
    out = np.empty(len(rows), np.int64)
    for tile in tiles(rows, tile_rows):
        out[_place(tile, rows)] = model.evaluate(tile)[1].argmax(axis=0)
    return out


def _place(tile: Rows, rows: Rows) -> slice:
    start = tile.first - rows.first
    return slice(start, start + len(tile))
