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
    """Seconds of a pass, medians of the rounds."""

    shape: Shape
    covariance: str
    rows: str
    one: float  # thread
    two: float
    auto: float  # two threads, precision="auto"


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


def measured(shape: Shape, covariance: str, kind: str, arguments: argparse.Namespace) -> Measured:
    """Measure a shape: one thread, two, and auto in turn, so that drift meets all."""
    rows, means = (clouds if kind == "clouds" else spheres)(shape)
    cores = sorted(os.sched_getaffinity(0))[:2]
    asked = [({cores[0]}, "float64"), (set(cores), "float64"), (set(cores), "auto")]
    rounds = [
        [
            on_cores(where, lambda p=precision: pass_seconds(rows, means, covariance, arguments.passes, p))
            for where, precision in asked
        ]
        for _ in range(arguments.rounds)
    ]
    result = Measured(shape, covariance, kind, *map(float, np.median(rounds, axis=0)))
    print(result, flush=True)
    return result


def processes(passes: int) -> tuple[float, float]:
    """Return the seconds of a pass over rows kept in one worker process, and in two."""
    rows, means = clouds(LARGE)
    seconds = []
    for workers in (1, 2):
        with connect(ClusterSettings("local", workers=workers, threads_per_worker=1, memory_limit="4GB")) as client:
            fit = mixture(means, "full", max_iter=passes).iterate(rows, client=client)
            seconds.append(float(np.median([iteration.entry.seconds for iteration in fit][1:])))
        print(f"{workers} worker processes: {seconds[-1]:.3f} s a pass", flush=True)
    return seconds[0], seconds[1]


def report(results: list[Measured], peak: float, of_processes: tuple[float, float] | None) -> str:
    """Return the page."""
    head = ["shape, covariance, rows", "1 thread, ms", "2 threads, ms", "1 / 2", "share of GEMM peak"]
    head += ["auto, 2 threads, ms", "float64 / auto"]
    body = [
        [
            f"{titled(r.shape)}, {r.covariance}, {r.rows}",
            f"{1e3 * r.one:.1f}",
            f"{1e3 * r.two:.1f}",
            f"{r.one / r.two:.2f}",
            f"{least_flops(r.shape, r.covariance) / peak / 1e9 / r.two:.0%}" if r.covariance == "full" else "-",
            f"{1e3 * r.auto:.1f}",
            f"{r.two / r.auto:.2f}",
        ]
        for r in results
    ]
    how = (
        f"Measured {datetime.now(UTC):%Y-%m-%d} by `benchmarks/kernel.py` on {machine()}. GEMM peak of two processes "
        f"of one thread, NumPy's BLAS, float64: {peak:.0f} Gflop/s. A pass includes what the driver does between "
        "passes. The share is 4·N·K·P / (seconds · peak), P = (D+1)(D+2)/2; it can exceed 100 %, since rows that a "
        "component has no share in are left out, and since the kernel's own loops use wider vectors than this BLAS. "
        "*clouds* are the overlapping problems of `data.py`; of *spheres* every row has a share in every component."
    )
    parts = ["# The kernel", how, table(head, body)]
    if of_processes:
        one, two = of_processes
        told = f"{one:.2f} s in one, {two:.2f} s in two: {one / two:.2f} x."
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
        mine = {r.shape: 1e9 * r.one / (r.shape[0] * r.shape[2]) for r in kept if r.covariance == covariance}
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
    wanted = [(shape, covariance, "clouds") for covariance in COVARIANCES for shape in asked]
    results = [measured(*one, arguments) for one in [*wanted, *((shape, "full", "spheres") for shape in asked)]]
    page = report(results, peak, processes(6) if arguments.processes else None)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "kernel.md").write_text(page + "\n", encoding="utf-8")
    draw(results, arguments.out / "kernel.png")
    print(page)


if __name__ == "__main__":
    main()
