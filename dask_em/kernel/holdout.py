"""Rows that no model is fitted to: chosen by their hashed numbers, and scored in the pass that sums over the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from dask_em._record import record
from dask_em.kernel.passes import score, summarize
from dask_em.kernel.survey import hashed
from dask_em.mixture import PreparedMixture
from dask_em.rows import Rows
from dask_em.statistics import Joint

__all__ = ["Holdout", "apart", "summarize_apart"]

Array = np.ndarray[Any, Any]
V = TypeVar("V")


@record
class Holdout:
    """A share of the rows, the same whatever the chunking and the cluster."""

    share: float
    seed: int

    def holds(self, rows: Rows) -> Array:
        """Say which rows are held out, (n,) bool."""
        return np.asarray(hashed(rows.index, self.seed) < np.uint64(self.share * 2.0**64))


def apart(kernel: Callable[[Rows], V], holdout: Holdout, rows: Rows) -> V:
    """Return a kernel's value for a slab whose held-out rows weigh nothing; what is wrong in a weight stays."""
    weight = np.where(holdout.holds(rows) & (rows.weight >= 0), 0.0, rows.weight)
    return kernel(dataclasses.replace(rows, weight=weight))


def summarize_apart(holdout: Holdout, models: tuple[PreparedMixture, ...], tile_rows: int, rows: Rows) -> Joint:
    """Return the statistics of each model over the rows that it is fitted to, and its score on the others."""
    held = holdout.holds(rows)
    training, others = _chosen(rows, ~held), _chosen(rows, held)
    count = int(held.sum())
    scores = (dataclasses.replace(score(model, tile_rows, others), rows=count) for model in models)
    return Joint(
        tuple(
            dataclasses.replace(stats, rows=len(rows), held_out=held_out)
            for stats, held_out in zip(summarize(models, tile_rows, training).members, scores, strict=True)
        )
    )


def _chosen(rows: Rows, mask: Array) -> Rows:
    """Return the chosen rows of a slab; one that weighs nothing where there are none."""
    if not mask.any():
        return dataclasses.replace(rows[:1], weight=np.zeros(1))
    return Rows(rows.values[mask], rows.weight[mask], rows.first, workspace=rows.workspace)
