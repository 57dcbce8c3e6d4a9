"""A Zarr store larger than its workers' memory: what a pass takes against the CPU time of its parts.

    python benchmarks/out_of_core.py [--rows 20000000] [--passes 4] [--memory 800MB] [--store /tmp/rows.zarr]
    python benchmarks/out_of_core.py --rows 625000000 --memory 1GiB --passes 2 --no-parts     # 40 GB

Prints, for a store of rows × 16 float32 and K = 16 full covariances under two workers: seconds a pass, CPU seconds of
decoding and of the kernel for the same rows, their ratio, peak memory beside what the plan promised, bytes spilled.
The parts are taken in one process, and in two at once that halve the rows: cores that share caches, memory and
frequency are slower together than alone, and a pass uses both.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dask_em import GaussianMixture, open_source
from dask_em.execution import ClusterSettings, connect, single_threaded_blas
from dask_em.kernel import summarize
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Serial

D, K = 16, 16


def make(store: Path, rows: int) -> None:
    """Write rows of K overlapping clouds, chunk by chunk, with the default codec."""
    array = zarr.create_array(store, shape=(rows, D), chunks=(250_000, D), dtype="float32")
    random = np.random.default_rng(0)
    centres = 1.5 * random.standard_normal((K, D))
    for start in range(0, rows, 250_000):
        n = min(250_000, rows - start)
        x = centres[random.integers(K, size=n)] + random.standard_normal((n, D))
        array[start : start + n] = x.astype("float32")


def starting_point() -> dict[str, Any]:
    """Return a start at the clouds, so that every run takes the same steps."""
    centres = 1.5 * np.random.default_rng(0).standard_normal((K, D))
    return {
        "weights_init": np.full(K, 1 / K),
        "means_init": centres,
        "precisions_init": np.tile(np.eye(D), (K, 1, 1)),
    }


def cpu_of_parts(store: Path, share: slice = slice(None)) -> tuple[float, float]:
    """Return the CPU seconds of decoding a share of the blocks, and of the kernel over them, in this process."""
    source = open_source(store)
    layout = plan(source, source.atoms(), ModelSize(K, (D + 1) * (D + 2) // 2)).layout
    model = GaussianMixture(K, max_iter=0, **starting_point()).fit(np.random.default_rng(0).standard_normal((100, D)))
    prepared = (model._fitted.prepare(),)
    source.load(layout.blocks[0].pieces[0].atom, slice(0, 1))  # what reads it is imported
    decode = kernel = 0.0
    with single_threaded_blas():
        for block in layout.blocks[share]:
            began = time.process_time()
            parts = [source.load(p.atom, slice(p.start, p.stop)) for p in block.pieces]
            decode += time.process_time() - began
            memory = open_source(np.concatenate([part.values for part in parts]))
            alone = plan(memory, memory.atoms(), ModelSize(K, (D + 1) * (D + 2) // 2)).layout
            began = time.process_time()
            Serial(alone).total(partial(summarize, prepared, layout.tile_rows))
            kernel += time.process_time() - began
    return decode, kernel


def cpu_side_by_side(store: Path) -> tuple[float, float]:
    """Return the CPU seconds of decoding all rows, and of the kernel over them, in two processes at once."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        halves = list(pool.map(cpu_of_parts, [store] * 2, [slice(0, None, 2), slice(1, None, 2)]))
    decode, kernel = (sum(seconds) for seconds in zip(*halves, strict=True))
    return decode, kernel


def of_worker(dask_worker: Any) -> dict[str, Any]:
    """Return a worker's process number, peak memory (MB) and spilled bytes."""
    status = Path("/proc/self/status").read_text()
    peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1000
    return {"pid": os.getpid(), "peak": peak, "spilled": int(getattr(dask_worker.data, "spilled_total", (0, 0))[1])}


def seconds_where_rows_stay(store: Path, workers: int, passes: int) -> float:
    """Return the median seconds of a pass whose rows lie in the workers' memory."""
    settings = ClusterSettings("local", workers=workers, threads_per_worker=1, memory_limit="6GiB", resident="6GiB")
    with connect(settings) as client:
        model = GaussianMixture(K, max_iter=passes + 1, tol=0.0, accelerate=False, **starting_point())
        seconds = [iteration.entry.seconds for iteration in model.iterate(str(store), client=client)]
    return float(np.median(seconds[1:]))


def tell_parts(pass_seconds: float, parts: list[tuple[float, float]], stays: list[float]) -> None:
    """Print what a pass takes beside its parts."""
    for (decode, kernel), where in zip(parts, ("one process", "two processes at once"), strict=True):
        print(f"CPU seconds of the same rows in {where}: decoding {decode:.2f}, kernel {kernel:.2f}")
        print(f"  pass / (CPU / 2 cores), median: {pass_seconds / ((decode + kernel) / 2):.3f}")
    (_, kernel), (one, two) = parts[0], stays
    print(f"rows in the workers' memory: one worker {one:.2f} s a pass, {one / kernel:.3f} x the kernel alone;")
    print(f"  two {two:.2f} s, {one / two:.2f} x as fast; two that read the rows: {one / pass_seconds:.2f} x")


def tell_workers(before: dict[str, Any], after: dict[str, Any], promise: float) -> None:
    """Print what workers took beside what the plan promised (MB)."""
    for worker, status in after.items():
        idle = before[worker]["peak"]
        taken = status["peak"] - idle
        print(
            f"peak memory of a worker: {status['peak']:.0f} MB, {idle:.0f} of them before the fit; "
            f"{taken:.0f} taken of {promise:.0f} promised ({promise / taken:.2f} x)"
        )
    print(f"bytes spilled: {sum(w['spilled'] for w in after.values())}")
    print(f"workers restarted: {len({w['pid'] for w in after.values()} - {w['pid'] for w in before.values()})}")


def main() -> None:
    """Make the store, fit it, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--memory", default="800MB", help="of each worker")
    parser.add_argument("--no-parts", dest="parts", action="store_false", help="leave out the CPU time of the parts")
    parser.add_argument("--store", type=Path, default=Path("/tmp/dask_em-benchmark-rows.zarr"))  # removed afterwards
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # the passes are counted, not convergence
    if not arguments.store.exists():
        make(arguments.store, arguments.rows)
    settings = ClusterSettings("local", workers=2, threads_per_worker=1, memory_limit=arguments.memory, resident="0B")
    model = GaussianMixture(K, max_iter=arguments.passes, tol=0.0, accelerate=False, **starting_point())
    promise = model.plan(str(arguments.store)).memory_bytes / 1e6
    try:
        with connect(settings) as client:
            for library in ("zarr", "dask_em.kernel.compiled"):  # part of a worker, not of a fit
                client.run(import_module, library)
            before = client.run(of_worker)
            seconds = []
            for iteration in model.iterate(str(arguments.store), client=client):
                seconds.append(iteration.entry.seconds)
                print(f"pass {len(seconds)}: {seconds[-1]:.1f} s", flush=True)
            after = client.run(of_worker)
        parts = [measure(arguments.store) for measure in (cpu_of_parts, cpu_side_by_side) if arguments.parts]
        stays = [seconds_where_rows_stay(arguments.store, w, arguments.passes) for w in (1, 2) if arguments.parts]
    finally:
        shutil.rmtree(arguments.store, ignore_errors=True)
    print(f"rows {arguments.rows:,} x {D} float32, K = {K}, full covariance, two workers of {arguments.memory}")
    print(f"seconds a pass: {', '.join(f'{s:.2f}' for s in seconds)}")
    if parts:
        tell_parts(float(np.median(seconds)), parts, stays)
    tell_workers(before, after, promise)


if __name__ == "__main__":
    main()
