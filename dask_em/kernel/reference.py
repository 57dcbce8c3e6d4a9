"""The readable sibling: tiles through ``expect`` and ``collect``, for every family and any array namespace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dask_em.mixture import MixtureStatistics, PreparedMixture
from dask_em.rows import Rows

__all__ = ["evaluate", "summarize", "tiles"]

Array = np.ndarray[Any, Any]


def tiles(rows: Rows, tile_rows: int) -> Iterator[Rows]:
    """Cut a slab into tiles."""
    for start in range(0, len(rows), tile_rows):
        yield rows[start : start + tile_rows]


def summarize(models: tuple[PreparedMixture, ...], tile_rows: int, rows: Rows) -> tuple[MixtureStatistics, ...]:
    """Return the statistics of each model: models of one family share a tile's features."""
    totals: tuple[MixtureStatistics, ...] = ()
    for tile in tiles(rows, tile_rows):
        parts = tuple(model.summarize(tile) for model in models)
        totals = tuple(a + b for a, b in zip(totals, parts, strict=True)) if totals else parts
    return totals


def evaluate(model: PreparedMixture, tile_rows: int, rows: Rows, density: Array, resp: Array | None) -> None:
    """Write log p(x) in nats, (n,), and, where asked, the posterior probability of each component, (n, k)."""
    for tile in tiles(rows, tile_rows):
        place = slice(tile.first - rows.first, tile.first - rows.first + len(tile))
        log_density, here, _ = model.evaluate(tile)
        density[place] = tile.arrays.back(log_density)
        if resp is not None:
            resp[place] = tile.arrays.back(here).T
