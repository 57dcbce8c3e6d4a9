"""A Zarr store larger than its workers' memory: what a pass takes against the CPU time of its parts.

    python benchmarks/out_of_core.py [--rows 20000000] [--passes 4] [--rounds 5] [--memory 800MB] [--store /tmp/r.zarr]
    python benchmarks/out_of_core.py --rows 625000000 --memory 1GiB --passes 2 --rounds 0     # 40 GB

Prints, for a store of rows × 16 float32 and K = 16 full covariances: seconds a pass of two workers that read the rows,
CPU seconds of decoding and of the kernel for the same rows, one and two workers that keep them, peak memory beside
what the plan promised, bytes spilled. Everything is measured again in every round, so that what is compared is some
seconds apart; the medians of the rounds' ratios are the figures. Where cores change their speed within seconds, two
workers are also compared by the quickest pass of each over all rounds: what disturbs a pass only ever adds to it. The
kernel is also timed in two processes at once: what cores that share caches and memory give, whoever uses them; and
Dask tells which part of a pass both workers compute: what is ours of the time that the second core does not save.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from distributed import Client, get_task_stream

from dask_em import GaussianMixture, open_source
from dask_em.execution import ClusterSettings, connect, single_threaded_blas
from dask_em.execution.memory import keep_freed_memory_once
from dask_em.kernel import summarize
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Serial

D, K = 16, 16
TURN = 2  # passes that count, before another's turn


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
    """Return the CPU seconds of decoding a share of the blocks, and of the kernel over them, in this process.

    Once before counts nothing: a process that has stood still pays for its memory anew, more than decoding takes.
    """
    keep_freed_memory_once()
    _parts(store, share)
    return _parts(store, share)


def _parts(store: Path, share: slice) -> tuple[float, float]:
    source = open_source(store)
    layout = plan(source, source.atoms(), ModelSize(K, (D + 1) * (D + 2) // 2)).layout
    model = GaussianMixture(K, max_iter=0, **starting_point()).fit(np.random.default_rng(0).standard_normal((100, D)))
    prepared = (model._fitted.prepare(),)
    source.load(layout.blocks[0].pieces[0].atom, slice(0, 1))  # what reads it is imported
    decode = kernel = 0.0
    with single_threaded_blas():
        for block in layout.blocks[share]:
            rows, at = np.empty((block.rows, D), "float32"), 0
            for piece in block.pieces:  # one at a time, as in a fit: memory that is freed serves the next
                began = time.process_time()
                part = source.load(piece.atom, slice(piece.start, piece.stop)).values
                decode += time.process_time() - began
                rows[at : at + len(part)], at = part, at + len(part)
            memory = open_source(rows)
            alone = plan(memory, memory.atoms(), ModelSize(K, (D + 1) * (D + 2) // 2)).layout
            began = time.process_time()
            Serial(alone).total(partial(summarize, prepared, layout.tile_rows))
            kernel += time.process_time() - began
    return decode, kernel


def of_cores(pool: ProcessPoolExecutor, store: Path) -> dict[str, float]:
    """Return the CPU seconds of decoding and of the kernel in a process alone, and of the kernel in two at once."""
    decode, kernel = pool.submit(cpu_of_parts, store).result()
    halves = [half for _, half in pool.map(cpu_of_parts, [store] * 2, [slice(0, None, 2), slice(1, None, 2)])]
    return {"decode": decode, "kernel": kernel, "kernel in two": sum(halves), "slower half": max(halves)}


def of_worker(dask_worker: Any) -> dict[str, Any]:
    """Return a worker's process number, peak memory (MB) and spilled bytes."""
    status = Path("/proc/self/status").read_text()
    peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1000
    return {"pid": os.getpid(), "peak": peak, "spilled": int(getattr(dask_worker.data, "spilled_total", (0, 0))[1])}


@contextmanager
def fitting(store: Path, workers: int, memory: str, resident: str) -> Iterator[tuple[Iterator[Any], Client]]:
    """Give a fit's passes, the first of them done, and the cluster of its own that it is on."""
    settings = ClusterSettings("local", workers=workers, threads_per_worker=1, memory_limit=memory, resident=resident)
    with connect(settings) as client:
        model = GaussianMixture(K, max_iter=10_000, tol=0.0, accelerate=False, **starting_point())
        with closing(model.iterate(str(store), client=client)) as fit:
            next(fit)
            yield fit, client


def by_turns(passes: int, **fits: Iterator[Any]) -> dict[str, float]:
    """Return the mean seconds of a pass of each fit, and the quickest; all clusters stand, and take turns.

    Means, since cores change their speed from pass to pass. The first of a turn counts nothing: workers that have
    stood still for some seconds take 5 to 10 % longer.
    """
    seconds: dict[str, list[float]] = {name: [] for name in fits}
    for _ in range(0, passes, TURN):
        for name, fit in fits.items():
            _, *counted = [next(fit).entry.seconds for _ in range(1 + TURN)]
            seconds[name] += counted
    means = {name: float(np.mean(taken)) for name, taken in seconds.items()}
    return {**means, **{f"quickest {name}": min(taken) for name, taken in seconds.items()}}


def watched(fit: Iterator[Any], client: Client) -> dict[str, float]:
    """Return the seconds of a pass, and those of it that a worker does not compute, the mean of all workers."""
    next(fit)
    with get_task_stream(client) as stream:
        seconds = next(fit).entry.seconds
    spans = [span for task in stream.data for span in task["startstops"] if span["action"] == "compute"]
    computing = sum(span["stop"] - span["start"] for span in spans) / len(client.nthreads())
    return {"watched": seconds, "idle": seconds - computing}


def one_round(pool: ProcessPoolExecutor, store: Path, passes: int, memory: str) -> dict[str, float]:
    """Return the seconds of every way to pass over the rows, and of their parts."""
    with fitting(store, 2, memory, "0B") as (streamed, _):
        reading = by_turns(passes, streamed=streamed)
    parts = of_cores(pool, store)
    with fitting(store, 1, "6GiB", "6GiB") as (one, _), fitting(store, 2, "6GiB", "6GiB") as (two, client):
        return {**reading, **parts, **by_turns(passes, one=one, two=two), **watched(two, client)}


def ratios(seconds: dict[str, float]) -> dict[str, float]:
    """Return what a round's figures are to each other."""
    streamed, one, kernel = seconds["streamed"], seconds["one"], seconds["kernel"]
    return {
        "two workers that read the rows / (CPU of the parts / 2)": 2 * streamed / (seconds["decode"] + kernel),
        "one worker that keeps the rows / the kernel alone": one / kernel,
        "two workers that keep the rows, times as fast as one": one / seconds["two"],
        "  part of a pass in which both compute": 1 - seconds["idle"] / seconds["watched"],
        "  the kernel alone in two processes, times as fast as in one": 2 * kernel / seconds["kernel in two"],
        "    where each has half of the blocks, and the quicker waits": kernel / seconds["slower half"],
        "two workers that read the rows, times as fast as one that keeps them": one / streamed,
    }


def tell_rounds(rounds: list[dict[str, float]]) -> None:
    """Print the rounds' seconds and the medians of their ratios."""
    for name in rounds[0]:
        print(f"{name:17} {'  '.join(f'{each[name]:5.2f}' for each in rounds)} s")
    found = [ratios(each) for each in rounds]
    for name in found[0]:
        values = [each[name] for each in found]
        print(f"{name}: {np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
    one, two = (min(each[f"quickest {name}"] for each in rounds) for name in ("one", "two"))
    print(f"two workers that keep the rows, times as fast as one, by the quickest pass of each: {one / two:.2f}")


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


def fit(store: Path, passes: int, memory: str) -> None:
    """Fit the store under two workers; print each pass, and what the workers took of what the plan promised."""
    settings = ClusterSettings("local", workers=2, threads_per_worker=1, memory_limit=memory, resident="0B")
    model = GaussianMixture(K, max_iter=passes, tol=0.0, accelerate=False, **starting_point())
    promise = model.plan(str(store)).memory_bytes / 1e6
    with connect(settings) as client:
        for library in ("zarr", "dask_em.kernel.compiled"):  # part of a worker, not of a fit
            client.run(import_module, library)
        before = client.run(of_worker)
        for number, iteration in enumerate(model.iterate(str(store), client=client), 1):
            print(f"pass {number}: {iteration.entry.seconds:.2f} s", flush=True)
        tell_workers(before, client.run(of_worker), promise)


def main() -> None:
    """Make the store, fit it, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5, help="of measuring passes beside their parts; 0: none")
    parser.add_argument("--memory", default="800MB", help="of each worker that reads the rows")
    parser.add_argument("--store", type=Path, default=Path("/tmp/dask_em-benchmark-rows.zarr"))  # removed afterwards
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # the passes are counted, not convergence
    store, passes, memory = arguments.store, arguments.passes, arguments.memory
    if not store.exists():
        make(store, arguments.rows)
    print(f"rows {arguments.rows:,} x {D} float32, K = {K}, full covariance, two workers of {memory}", flush=True)
    try:
        fit(store, passes, memory)
        if arguments.rounds:
            os.environ["MALLOC_TRIM_THRESHOLD_"] = "65536"  # the processes beside treat memory as workers do
            with ProcessPoolExecutor(2, get_context("spawn")) as pool:
                tell_rounds([one_round(pool, store, passes, memory) for _ in range(arguments.rounds)])
    finally:
        shutil.rmtree(store, ignore_errors=True)


if __name__ == "__main__":
    main()
