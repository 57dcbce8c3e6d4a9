"""What a pass will take, from a short trial: some rows are read, and a few passes are made over them."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from dask_em.estimators.gaussian_mixture import GaussianMixture
from dask_em.estimators.reading import HERE
from dask_em.execution import cores
from dask_em.plan import Plan
from dask_em.storage.blocks import Reader
from dask_em.storage.numpy import ArraySource

__all__ = ["Forecast", "forecast"]

Array = np.ndarray[Any, Any]
TRIAL_SECONDS, TRIAL_ROWS, TRIAL_PASSES = 1.0, 262_144, 4


@dataclass(frozen=True)
class Forecast:
    """Seconds of one core for one row."""

    reading: float
    computing: float

    def seconds(self, rows: int, cores: int) -> float:
        """Return the seconds of a pass over so many rows, where storage is fast enough."""
        return rows * (self.reading + self.computing) / cores

    def sentence(self, rows: int, cores: int) -> str:
        """Tell a person."""
        each = 1e-6 / (self.reading + self.computing)
        share = 100 * self.reading / (self.reading + self.computing)
        return (
            f"Time: about {self.seconds(rows, cores):,.2g} s a pass with {cores} core{'s' * (cores > 1)}, from a short "
            f"trial here: {each:,.2g} million rows a second on one core, {share:.0f} % of it reading."
        )


def forecast(plan: Plan, mixture: GaussianMixture) -> Forecast:
    """Read rows from the middle of the data for about a second, and make a few passes of the mixture over them."""
    layout = plan.layout
    block = layout.blocks[len(layout.blocks) // 2]
    reader, found, read = Reader(layout.source, layout.slab_rows), list[Array](), 0
    began = time.perf_counter()
    with closing(reader.slabs(block)) as slabs:
        for rows in slabs:
            found.append(rows.values)
            read += len(rows)
            if read >= TRIAL_ROWS or time.perf_counter() - began > TRIAL_SECONDS:
                break
    reading = (time.perf_counter() - began) / read
    components = min(mixture.n_components, read)
    begun = {"init_params": "random_from_data", "n_init": 1, "labels_init": None}
    trial = clone(mixture).set_params(n_components=components, tol=0.0, max_iter=TRIAL_PASSES, **begun)
    some = ArraySource(np.concatenate(found), name=f"the rows from {block.first} on of {layout.source.name}")
    passes = [it.entry.seconds for it in trial.iterate(some, client=HERE)]
    share = plan.size.components / components  # all models of a pass
    return Forecast(reading, min(passes) * cores() * share / read)
