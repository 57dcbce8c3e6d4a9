"""What a pass costs the scheduler, whatever the number of chunks, and beside the plain dask.array formulation.

    python benchmarks/engine.py [--rows 6400000] [--chunks 100,100000] [--passes 10]

A scheduler and two workers run as processes of their own. For a Zarr store and for a dask array, with few chunks and
with many, prints the tasks of a pass and the scheduler's CPU seconds for one; then seconds a pass beside
``map_blocks`` and ``sum`` of the same statistics; last, what the scheduler still knows after 200 passes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import psutil
import zarr
from distributed import Client

from dask_em import GaussianMixture
from dask_em.execution.collections import collection_source
from dask_em.execution.dask_reducer import DaskReducer
from dask_em.kernel import summarize
from dask_em.plan import ModelSize, plan
from dask_em.rows import Rows
from dask_em.storage import Source, open_source

D, K = 4, 4
SIZE = ModelSize(K, (D + 1) * (D + 2) // 2)
PLAIN_ROWS = 5_000_000
SETTLE = 2.0  # seconds: the scheduler has forgotten, and sent what it had to


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[tuple[Client, psutil.Process]]:
    """Start a scheduler and workers of one thread as processes; give a client, and the scheduler's process."""
    file = folder / "scheduler.json"
    run = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    run += ["--no-dashboard", "--scheduler-file", str(file)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(run, **quiet)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1"]
    worker += ["--no-dashboard", "--local-directory", str(folder), "--memory-limit", "3GiB"]
    try:
        while not file.exists():
            time.sleep(0.05)
        processes += [subprocess.Popen(worker, **quiet) for _ in range(workers)]
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            if workers:
                client.wait_for_workers(workers)
            yield client, psutil.Process(processes[0].pid)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def rows_of(start: int, n: int) -> np.ndarray:
    random = np.random.default_rng(start)
    return (random.standard_normal((n, D)) + random.integers(0, K, (n, 1))).astype("float32")


def store_of(folder: Path, rows: int, chunks: int) -> Path:
    """Write a Zarr store of so many chunks."""
    path = folder / f"{chunks}.zarr"
    each = rows // chunks
    array = zarr.create_array(path, shape=(rows, D), chunks=(each, D), dtype="float32", compressors=None)
    step = max(each, 100_000 // each * each)
    for start in range(0, rows, step):
        array[start : start + step] = rows_of(start, min(step, rows - start))
    return path


def prepared() -> tuple[Any, ...]:
    model = GaussianMixture(K, max_iter=0, random_state=0).fit(rows_of(0, 1000).astype(float))
    return (model._fitted.prepare(),)


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def seconds_and_cpu(reducer: DaskReducer, scheduler: psutil.Process, passes: int) -> tuple[float, float]:
    """Return the seconds of a pass, and the CPU seconds that the scheduler takes for one."""
    kernel = partial(summarize, prepared(), reducer.layout.tile_rows)
    for _ in range(2):  # what is read once, and what was compiled
        reducer.total(kernel)
    time.sleep(SETTLE)
    busy, began = cpu(scheduler), time.perf_counter()
    for _ in range(passes):
        reducer.total(kernel)
    took = time.perf_counter() - began
    time.sleep(SETTLE)
    idle = _idle(scheduler)
    return took / passes, max(0.0, cpu(scheduler) - busy - idle * (took + SETTLE)) / passes


def tasks_of_pass(reducer: DaskReducer, client: Client) -> int:
    """Return how many tasks finish in a pass."""
    kernel = partial(summarize, prepared(), reducer.layout.tile_rows)
    reducer.total(kernel)  # what is read once
    began = time.time()
    reducer.total(kernel)
    return int(client.run_on_scheduler(finished, since=began))


def finished(dask_scheduler: Any, since: float) -> int:
    """Count tasks in the log, which holds the last thousand transitions."""
    return sum(new == "memory" and at >= since for _, _, new, *_, at in dask_scheduler.transition_log)


def _idle(scheduler: psutil.Process) -> float:
    """Return the CPU seconds a second that the scheduler takes for nothing: heartbeats and the like."""
    before = cpu(scheduler)
    time.sleep(SETTLE)
    return (cpu(scheduler) - before) / SETTLE


def scheduler_costs(folder: Path, rows: int, chunks: list[int], passes: int) -> None:
    print(f"{rows:,} rows x {D} float32, K = {K}, two workers")
    print(f"{'':22}{'chunks':>9}{'blocks':>8}{'tasks a pass':>14}{'scheduler CPU s a pass':>24}{'seconds a pass':>16}")
    with cluster(folder) as (client, scheduler):
        for name in ("Zarr", "Zarr, streamed", "dask array"):
            for n in chunks:
                if name == "dask array":
                    source: Source = collection_source(da.zeros((rows, D), chunks=(rows // n, D), dtype="float32"))
                else:
                    source = open_source(
                        str(store_of(folder, rows, n)) if name == "Zarr" else str(folder / f"{n}.zarr")
                    )
                planned = plan(source, source.atoms(), SIZE)
                keep = 0.0 if name == "Zarr, streamed" else None
                with DaskReducer(planned.layout, client, keep=keep) as reducer:
                    tasks = tasks_of_pass(reducer, client)
                    took, busy = seconds_and_cpu(reducer, scheduler, passes)
                blocks = len(planned.layout.blocks)
                print(f"{name:22}{n:9,}{blocks:8}{tasks:14}{busy:24.4f}{took:16.3f}", flush=True)


def of_chunk(models: tuple[Any, ...], tile: int, chunk: np.ndarray) -> np.ndarray:
    """Return the statistics of a chunk as one array, for ``map_blocks``."""
    (stats,) = summarize(models, tile, Rows.of(chunk)).members
    parts = [
        np.ravel(stats.counts),
        *(np.ravel(a) for a in vars(stats.components).values() if isinstance(a, np.ndarray)),
    ]
    return np.concatenate([*parts, [stats.log_likelihood, stats.weight]])[None]


def beside_plain(folder: Path, counts: list[int], passes: int) -> None:
    """Time our pass beside ``X.map_blocks(statistics).sum(axis=0)`` over the same store."""
    print(f"\n{PLAIN_ROWS:,} rows x {D} float32 in Zarr, seconds a pass, median of {passes}")
    print(f"{'chunks':>9}{'map_blocks + sum':>20}{'dask_em, streamed':>20}{'ratio':>8}{'dask_em':>12}{'ratio':>8}")
    models = prepared()
    width = of_chunk(models, 1024, rows_of(0, 10)).shape[1]
    with cluster(folder) as (client, _):
        for n in counts:
            path = store_of(folder, PLAIN_ROWS, n)
            source = open_source(str(path))
            layout = plan(source, source.atoms(), SIZE).layout
            x = da.from_zarr(str(path))
            sums = x.map_blocks(partial(of_chunk, models, layout.tile_rows), chunks=(1, width), dtype=float)
            total = sums.sum(axis=0)
            kernel = partial(summarize, models, layout.tile_rows)
            with DaskReducer(layout, client, keep=0.0) as streamed, DaskReducer(layout, client) as resident:
                ways = {
                    "plain": lambda total=total: client.compute(total).result(),
                    "streamed": lambda r=streamed, k=kernel: r.total(k),
                    "resident": lambda r=resident, k=kernel: r.total(k),
                }
                seconds: dict[str, list[float]] = {name: [] for name in ways}
                for _ in range(passes + 1):
                    for name, way in ways.items():
                        began = time.perf_counter()
                        way()
                        seconds[name].append(time.perf_counter() - began)
            plain, ours, kept = (float(np.median(seconds[name][1:])) for name in ways)
            print(f"{n:9,}{plain:20.3f}{ours:20.3f}{plain / ours:8.1f}{kept:12.3f}{plain / kept:8.1f}", flush=True)
            shutil.rmtree(path)


def ours(dask_scheduler: Any) -> list[str]:
    return [str(key) for key in dask_scheduler.tasks]


def forgotten(folder: Path, passes: int) -> None:
    """Count what the scheduler knows after many passes."""
    source = open_source(str(store_of(folder, 64_000, 100)))
    layout = plan(source, source.atoms(), SIZE).layout
    with cluster(folder) as (client, _):
        with DaskReducer(layout, client) as reducer:
            kernel = partial(summarize, prepared(), layout.tile_rows)
            for _ in range(passes):
                reducer.total(kernel)
        time.sleep(SETTLE)
        print(f"\nafter {passes} passes the scheduler knows {len(client.run_on_scheduler(ours))} tasks")


def main() -> None:
    """Measure all, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=6_400_000)
    parser.add_argument("--chunks", default="100,100000")
    parser.add_argument("--plain", default="16,100,1000,5000", help="chunks beside the plain formulation")
    parser.add_argument("--passes", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # passes are counted, not convergence
    with tempfile.TemporaryDirectory(prefix="dask_em-benchmark-") as folder:
        scheduler_costs(Path(folder), arguments.rows, [int(n) for n in arguments.chunks.split(",")], arguments.passes)
    with tempfile.TemporaryDirectory(prefix="dask_em-benchmark-") as folder:
        beside_plain(Path(folder), [int(n) for n in arguments.plain.split(",")], arguments.passes)
    with tempfile.TemporaryDirectory(prefix="dask_em-benchmark-") as folder:
        forgotten(Path(folder), 200)


if __name__ == "__main__":
    main()
