"""A grid of models in the same passes: the bytes that it reads, and its time beside one read and the kernels alone.

    python benchmarks/grid.py [--rows 1000000] [--speeds 0,50] [--passes 4]

Ten models, each with three restarts, over a Zarr store; all take the same number of plain EM steps. What is told:
bytes that the grid asked of the store beside those of its longest member alone, which must be equal; seconds of a pass
beside one read of the store and beside the kernels' times added up, each model's over the same rows in memory. A speed
is that of the store in MB/s, held down by a lock and a clock that all threads share; 0: as fast as the disk.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask
import numpy as np
import zarr
from data import clouds
from sklearn.base import clone

from dask_em import Atom, GaussianMixture, GaussianMixtureSearch, open_source
from dask_em.estimators.reading import HERE
from dask_em.execution import Threads, cores
from dask_em.plan import ModelSize, plan
from dask_em.rows import Rows

GRID = {"n_components": [2, 3, 4, 6, 8], "covariance_type": ["full", "diag"]}
D, CHUNK, RESTARTS = 16, 50_000, 3


class Throttled:
    """A source whose bytes are counted, and come no faster than a store's speed."""

    def __init__(self, inner: Any, megabytes_a_second: float) -> None:
        self._inner, self._speed, self._lock = inner, megabytes_a_second * 1e6, threading.Lock()
        self.schema, self.name, self.asked = inner.schema, inner.name, 0

    def atoms(self) -> Sequence[Atom]:
        """See :class:`dask_em.Source`."""
        return self._inner.atoms()

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        """See :class:`dask_em.Source`."""
        with self._lock:
            self.asked += atom.nbytes
            if self._speed:
                time.sleep(atom.nbytes / self._speed)
        return self._inner.load(atom, rows)


def look(rows: Rows) -> np.ndarray:
    """Touch rows, and nothing else: a pass of it is one read."""
    return rows.values[:1].sum(axis=0).astype(float)


def one_read(source: Any) -> float:
    """Return the seconds of a pass that computes nothing."""
    layout = plan(source, source.atoms(), ModelSize(100, 153)).layout
    reducer, began = Threads(layout, cores()), time.perf_counter()
    reducer.total(look)
    return time.perf_counter() - began


def seconds(model: Any, source: Any) -> list[float]:
    """Return the seconds of each pass but the first, in which parameters are laid out and functions compiled."""
    passes: dict[int, float] = {}
    for iteration in model.iterate(source, client=HERE):
        passes[iteration.entry.number] = iteration.entry.seconds
    return [taken for number, taken in passes.items() if number > 1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--speeds", default="0,50", help="MB/s, separated by commas; 0: as fast as the disk")
    parser.add_argument("--passes", type=int, default=4)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # passes are counted, not convergence
    template = GaussianMixture(
        n_init=RESTARTS,
        init_params="random_from_data",
        tol=0.0,
        max_iter=arguments.passes,
        accelerate=False,
        random_state=0,
    )
    x = clouds((arguments.rows, D, 6))[0].astype(np.float32)
    search = GaussianMixtureSearch(template, **GRID)
    grid = [
        clone(template).set_params(n_components=k, covariance_type=c)
        for c in GRID["covariance_type"]
        for k in GRID["n_components"]
    ]
    kernels = [float(np.median(seconds(model, x))) for model in grid]
    print(f"kernels, each alone over rows in memory: {sum(kernels):.3f} s a pass together")
    with tempfile.TemporaryDirectory() as folder, dask.config.set({"dask_em.resident": "0B"}):  # each pass reads
        path = Path(folder) / "rows.zarr"
        zarr.create_array(path, data=x, chunks=(CHUNK, D))
        for speed in map(float, arguments.speeds.split(",")):
            measure(search, grid[4], path, speed, sum(kernels))


def measure(search: GaussianMixtureSearch, member: GaussianMixture, path: Path, speed: float, kernels: float) -> None:
    """Print a line for a store of a speed."""
    source, alone = (Throttled(open_source(path), speed) for _ in range(2))
    read = one_read(Throttled(open_source(path), speed))
    taken = float(np.median(seconds(search, source)))
    seconds(member, alone)
    longest = max(read, kernels)
    fast = f"{speed:g} MB/s" if speed else "as fast as the disk"
    print(
        f"store {fast}: the grid asked {source.asked / 1e6:.1f} MB, its longest member alone "
        f"{alone.asked / 1e6:.1f} MB; one read {read:.3f} s, the grid's pass {taken:.3f} s: "
        f"{taken / longest:.3f} x the longer of one read and the kernels"
    )


if __name__ == "__main__":
    main()
