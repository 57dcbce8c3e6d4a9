"""Seconds of a pass of ours: every covariance type, one thread and two, float64 and auto, beside the GEMM peak.

    python benchmarks/kernel.py [--shapes 400000x8x8,100000x32x32] [--processes]

A pass is the time of a fit of many passes less that of one, divided by the difference: what happens once cancels, what
the driver does each pass counts. Writes results/kernel.md and results/kernel.png. ``--processes`` adds two worker
processes against one, 2,000,000 x 32, K = 32, rows kept in the workers.
"""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from comparison import least_flops, machine, table, titled
from data import DEVIATION, Array, Shape, clouds, shapes, spheres
from peers import SHAPES, gemm_peak

from dask_em import GaussianMixture
from dask_em.execution import ClusterSettings, connect

COVARIANCES = ("full", "tied", "diag", "spherical")
LARGE: Shape = (2_000_000, 32, 32)


@dataclass
class Measured:
    """Seconds of a pass, (rounds, 3): one thread, two, two with precision="auto"."""

    shape: Shape
    covariance: str
    rows: str
    seconds: Array

    def ratio(self, place: int, to: Measured | None = None, at: int | None = None) -> float:
        """Return how many times as long as this the other took in the same round, the median."""
        other = (self if to is None else to).seconds[:, place if at is None else at]
        return float(np.median(other / self.seconds[:, place]))


def mixture(means: Array, covariance: str, **settings: Any) -> GaussianMixture:
    """Return a mixture that starts at the means, with spheres of the clouds' size."""
    k, d = means.shape
    precision = {
        "full": np.tile(np.eye(d), (k, 1, 1)),
        "tied": np.eye(d),
        "diag": np.ones((k, d)),
        "spherical": np.ones(k),
    }[covariance]
    start = {"weights_init": np.full(k, 1 / k), "means_init": means, "precisions_init": precision / DEVIATION**2}
    plain = {"reg_covar": 0.0, "tol": 0.0, "accelerate": False}
    return GaussianMixture(k, covariance_type=covariance, **plain, **start, **settings)


def pass_seconds(rows: Array, means: Array, covariance: str, passes: int, precision: str = "float64") -> float:
    """Return the seconds of a pass, driver included."""

    def timed(count: int) -> float:
        began = time.perf_counter()
        mixture(means, covariance, max_iter=count, precision=precision).fit(rows)
        return time.perf_counter() - began

    timed(1)
    return (timed(1 + passes) - timed(1)) / passes


def on_cores(cores: set[int], measure: Callable[[], float]) -> float:
    """Measure with the process bound to some cores: a thread for each."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        return measure()
    finally:
        os.sched_setaffinity(0, every)


def measured(shape: Shape, arguments: argparse.Namespace) -> list[Measured]:
    """Measure every covariance type of a shape in turn, round by round, so that drift meets all."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    asked = [({cores[0]}, "float64"), (set(cores), "float64"), (set(cores), "auto")]
    kinds = [*((covariance, "clouds") for covariance in COVARIANCES), ("full", "spheres")]
    drawn = {"clouds": clouds(shape), "spheres": spheres(shape)}

    def once(covariance: str, rows: str) -> list[float]:
        def seconds(precision: str) -> float:
            return pass_seconds(*drawn[rows], covariance, arguments.passes, precision)

        return [on_cores(where, partial(seconds, precision)) for where, precision in asked]

    rounds = np.array([[once(*kind) for kind in kinds] for _ in range(arguments.rounds)])
    results = [Measured(shape, *kind, rounds[:, i]) for i, kind in enumerate(kinds)]
    print(*results, sep="\n", flush=True)
    return results


def processes(passes: int, rounds: int) -> Array:
    """Return the seconds of a pass over rows kept in one worker process and in two, by turns, (rounds, 2)."""
    rows, means = clouds(LARGE)

    def seconds(workers: int) -> float:
        with connect(ClusterSettings("local", workers=workers, threads_per_worker=1, memory_limit="4GB")) as client:
            fit = mixture(means, "full", max_iter=passes).iterate(rows, client=client)
            found = float(np.median([iteration.entry.seconds for iteration in fit][1:]))
        print(f"{workers} worker processes: {found:.3f} s a pass", flush=True)
        return found

    return np.array([[seconds(workers) for workers in (1, 2)] for _ in range(rounds)])


def report(results: list[Measured], peak: float, of_processes: Array | None) -> str:
    """Return the page."""
    head = ["shape, covariance, rows", "1 thread, ms", "2 threads, ms", "1 / 2", "full / this", "share of GEMM peak"]
    head += ["auto, 2 threads, ms", "float64 / auto"]
    full = {r.shape: r for r in results if (r.covariance, r.rows) == ("full", "clouds")}
    body = []
    for r in results:
        one, two, auto = np.median(r.seconds, axis=0)
        share = f"{least_flops(r.shape, r.covariance) / peak / 1e9 / two:.0%}" if r.covariance == "full" else "-"
        line = [f"{titled(r.shape)}, {r.covariance}, {r.rows}", f"{1e3 * one:.1f}", f"{1e3 * two:.1f}"]
        line += [f"{r.ratio(1, at=0):.2f}", f"{r.ratio(1, full[r.shape]):.2f}", share, f"{1e3 * auto:.1f}"]
        body.append([*line, f"{r.ratio(2, at=1):.2f}"])
    how = (
        f"Measured {datetime.now(UTC):%Y-%m-%d} by `benchmarks/kernel.py` on {machine()}. GEMM peak of two processes "
        f"of one thread, NumPy's BLAS, float64: {peak:.0f} Gflop/s. A pass includes what the driver does between "
        "passes. Ratios are of two threads, medians of rounds. The share is 4·N·K·P / (seconds · peak), "
        "P = (D+1)(D+2)/2; it can exceed 100 %, since rows that a component has no share in are left out, and since "
        "the kernel's own loops use wider vectors than this BLAS. *clouds* are the overlapping problems of `data.py`; "
        "of *spheres* every row has a share in every component."
    )
    parts = ["# The kernel", how, table(head, body)]
    if of_processes is not None:
        one, two = np.median(of_processes, axis=0)
        ratio = np.median(of_processes[:, 0] / of_processes[:, 1])
        told = f"{one:.2f} s in one, {two:.2f} s in two: {ratio:.2f} x."
        parts.append(f"{titled(LARGE)}, full, rows kept in worker processes: {told}")
    return "\n\n".join(parts)


def draw(results: list[Measured], path: Path) -> None:
    """Draw nanoseconds a row and component, a group for each shape, a bar for each covariance type."""
    importlib.import_module("matplotlib").use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, panel = pyplot.subplots(figsize=(9, 4), layout="constrained")
    kept = [r for r in results if r.rows == "clouds"]
    shapes = list(dict.fromkeys(r.shape for r in kept))
    for i, covariance in enumerate(COVARIANCES):
        mine = {
            r.shape: 1e9 * np.median(r.seconds[:, 0]) / (r.shape[0] * r.shape[2])
            for r in kept
            if r.covariance == covariance
        }
        places = [shapes.index(shape) + 0.2 * (i - 1.5) for shape in mine]
        bars = panel.bar(places, mine.values(), width=0.2, label=covariance)
        panel.bar_label(bars, fmt="%.1f", fontsize=7)
    panel.set_xticks(range(len(shapes)), [titled(shape).replace(", ", "\n") for shape in shapes])
    panel.set_ylabel("ns a row and component, one thread")
    panel.legend(frameon=False, ncols=4)
    panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--passes", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # passes are counted, not convergence
    asked = shapes(arguments.shapes)
    with tempfile.TemporaryDirectory() as folder:
        peak = gemm_peak(Path(folder), 2)
    results = [result for shape in asked for result in measured(shape, arguments)]
    page = report(results, peak, processes(6, arguments.rounds) if arguments.processes else None)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "kernel.md").write_text(page + "\n", encoding="utf-8")
    draw(results, arguments.out / "kernel.png")
    print(page)


if __name__ == "__main__":
    main()
