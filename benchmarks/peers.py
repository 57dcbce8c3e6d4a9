"""Seconds of an EM iteration: dask_em beside other implementations, in one run on the same rows and cores.

    pip install -e '.[benchmarks]'
    python benchmarks/peers.py [--shapes 400000x8x8,2000000x2x3] [--covariances full,diag] [--peers scikit-learn,oneDAL]

Every peer gets the same rows, the same start and the same number of iterations, in a process of its own that may use
two cores. Peers take turns. An iteration is the time of many iterations less that of one, divided by the difference,
so that what happens once cancels. A peer that is not installed is told, and left out. Writes peers.md and peers.png.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from comparison import TOLERANCE, Cell, Cells, Results, draw, machine, tables, versions
from data import DEVIATION, Shape, clouds, shapes
from implementations import PEERS, Answer, Fit, Task

SHAPES = "400000x8x8,200000x16x16,100000x32x32,30000x64x64,20000x64x200,2000000x2x3"
LEAST_ITERATIONS = 3  # beside the first, of a peer that stops by itself
MEASURE_FOR = 4.0  # seconds that a process goes on repeating short measurements
SLOW = 2.0  # an iteration that takes so many seconds is measured in the first round only
CALM, TRIES = 0.1, 3  # cores that other processes may use during a measurement; else it is tried again
GEMM_SIZE, GEMM_SECONDS = 2000, 2.0
GEMM = "GEMM"


def make(folder: Path, shape: Shape) -> None:
    """Write rows of overlapping clouds and a start beside their centres."""
    rows, means = clouds(shape)
    np.save(folder / "rows.npy", rows)
    np.savez(folder / "start.npz", weights=np.full(len(means), 1 / len(means)), means=means)


def measure(folder: Path, name: str, covariance: str, iterations: int, cores: int) -> dict[str, Any]:
    """Return seconds of an iteration of one peer, in this process, and leave the parameters in the folder."""
    with np.load(folder / "start.npz") as start:
        task = Task(np.load(folder / "rows.npy"), start["weights"], start["means"], covariance, cores)
    fit = PEERS[name].begin(task)
    fit(1)  # what is compiled or opened at first use
    seconds: list[float] = []
    began = time.perf_counter()
    while not seconds or time.perf_counter() - began < MEASURE_FOR:
        few, time_of_few = timed(fit, 1)
        many, time_of_many = timed(fit, 1 + iterations)
        done = many.iterations - few.iterations  # some stop where nothing changes any more, whatever the tolerance
        if done < LEAST_ITERATIONS:
            return {"failure": f"stopped after {many.iterations} of {1 + iterations} iterations"}
        seconds.append((time_of_many - time_of_few) / done)
        if many.parameters is not None:
            weights, means, covariances = many.parameters
            np.savez(folder / f"{name}.npz", weights=weights, means=means, covariances=covariances)
    return {"seconds": float(np.median(seconds))}


def timed(fit: Fit, iterations: int) -> tuple[Answer, float]:
    """Return what a fit ended with, and its seconds."""
    began = time.perf_counter()
    return fit(iterations), time.perf_counter() - began


def multiply() -> dict[str, Any]:
    """Return Gflop/s of one thread multiplying float64 matrices."""
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((GEMM_SIZE, GEMM_SIZE)) for _ in range(2))
    out = a @ b
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < GEMM_SECONDS:
        np.matmul(a, b, out=out)
        count += 1
    return {"gflops": 2e-9 * GEMM_SIZE**3 * count / (time.perf_counter() - begun)}


def work(arguments: argparse.Namespace) -> None:
    """Do one measurement in this process, as the parent asked; what goes wrong is an answer too."""
    warnings.simplefilter("ignore")  # iterations are counted, not convergence
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    folder = arguments.folder
    try:
        if arguments.work == GEMM:
            result = multiply()
        else:
            result = measure(folder, arguments.work, arguments.covariances, arguments.iterations, arguments.cores)
    except ModuleNotFoundError as error:
        result = {"failure": "not installed", "detail": str(error)}
    except Exception as error:  # noqa: BLE001  # a peer may fail in any way, and the others go on
        result = {"failure": "failed", "detail": f"{type(error).__name__}: {error}"[:300]}
    arguments.answer.write_text(json.dumps(result))


def start(folder: Path, threads: int, arguments: list[str], answer: Path) -> subprocess.Popen[bytes]:
    """Start this script as a worker with so many threads."""
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA", "BLIS", "VECLIB")
    environment = {**os.environ, **{f"{name}_NUM_THREADS": str(threads) for name in names}}
    command = [sys.executable, str(Path(__file__).resolve()), "--folder", str(folder), "--answer", str(answer)]
    null = subprocess.DEVNULL
    return subprocess.Popen([*command, *arguments], cwd=folder, env=environment, stdin=null, stdout=null, stderr=null)


def measured(folder: Path, name: str, covariance: str, iterations: int, limits: tuple[int, float]) -> dict[str, Any]:
    """Return a worker's answer; ``limits`` are cores and seconds."""
    cores, seconds = limits
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    asked = ["--work", name, "--covariances", covariance, "--iterations", str(iterations), "--cores", str(cores)]
    process = start(folder, cores, asked, answer)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return {"failure": f"over {seconds:.0f} s"}
    died = {"failure": "died", "detail": f"exit status {process.returncode}"}
    return dict(json.loads(answer.read_text())) if answer.exists() else died


def cpu_seconds() -> tuple[float, float]:
    """Return CPU seconds of all processes of this machine, and of those that this one started and saw end."""
    all_of_them, ticks = Path("/proc/stat"), os.sysconf("SC_CLK_TCK")
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    if not all_of_them.exists():
        return float("nan"), own.ru_utime + own.ru_stime
    user, nice, system, _, _, interrupts, soft, stolen = map(int, all_of_them.read_text().split()[1:9])
    return (user + nice + system + interrupts + soft + stolen) / ticks, own.ru_utime + own.ru_stime


def in_calm(measurement: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a measurement with the cores that others used meanwhile; take it again where they were too many."""
    result: dict[str, Any] = {}
    for _ in range(TRIES):
        began, (every, own) = time.perf_counter(), cpu_seconds()
        result = measurement()
        every_then, own_then = cpu_seconds()
        others = ((every_then - every) - (own_then - own)) / (time.perf_counter() - began)
        result["others"] = max(others, 0.0)
        if not others > CALM:
            break
    return result


def gemm_peak(folder: Path, cores: int) -> float:
    """Return Gflop/s of as many processes of one thread as there are cores, at the same time."""
    answers = [folder / f"gemm-{i}.json" for i in range(cores)]
    for process in [start(folder, 1, ["--work", GEMM, "--cores", str(cores)], answer) for answer in answers]:
        process.wait()
    return float(sum(json.loads(answer.read_text())["gflops"] for answer in answers))


def difference(folder: Path, name: str) -> float | None:
    """Return the largest difference from dask_em's parameters, in the units of TOLERANCE; None where not known."""
    ours, theirs = folder / "dask_em.npz", folder / f"{name}.npz"
    if name == "dask_em" or not (ours.exists() and theirs.exists()):
        return None
    with np.load(ours) as a, np.load(theirs) as b:
        units = {"weights": 1 / len(a["weights"]), "means": DEVIATION, "covariances": DEVIATION**2}
        return max(float(np.max(np.abs(a[key] - b[key]))) / unit for key, unit in units.items())


def compare(shape: Shape, covariance: str, arguments: argparse.Namespace) -> tuple[Cells, list[float]]:
    """Return a cell for each peer and the GEMM peaks of the rounds; peers take turns."""
    cells = {name: Cell() for name in arguments.peers if covariance in PEERS[name].covariances}
    peaks: list[float] = []
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
        folder = Path(temporary)
        make(folder, shape)
        for _ in range(arguments.rounds):
            peaks.append(gemm_peak(folder, arguments.cores))
            for name, cell in cells.items():
                if cell.failure or (cell.rounds and cell.rounds[0] > SLOW):
                    continue
                limits = (arguments.cores, arguments.limit)
                result = in_calm(partial(measured, folder, name, covariance, arguments.iterations, limits))
                cell.others.append(result["others"])
                cell.failure = result.get("failure")
                cell.rounds += [result["seconds"]] if "seconds" in result else []
                said = result.get("detail") or ", ".join(f"{s:.4f}" for s in cell.rounds)
                told = f"{cell.failure or 'seconds'} {said}; cores used by others {result['others']:.2f}"
                print(f"{covariance} {shape} {name}: {told}", flush=True)
        for name, cell in cells.items():
            cell.difference = difference(folder, name)
    return cells, peaks


def report(results: Results, peaks: list[float], load: float, arguments: argparse.Namespace) -> str:
    """Return the page."""
    peak, iterations = float(np.median(peaks)), arguments.iterations
    measured_on = (
        f"Measured {datetime.now(UTC):%Y-%m-%d} by `benchmarks/peers.py` on {machine()}; {arguments.cores} cores used; "
        f"load average before the run {load:.2f}. GEMM peak, {arguments.cores} processes of one thread, float64 "
        f"{GEMM_SIZE} x {GEMM_SIZE}: median {peak:.0f} Gflop/s, {min(peaks):.0f} to {max(peaks):.0f} over the run."
    )
    how = (
        "Float64 rows of overlapping clouds in memory, the same start, no regularization. An iteration is the time of "
        f"{1 + iterations} iterations less that of one, divided by {iterations}; the median of {arguments.rounds} "
        f"round(s), in which peers take turns, each in a process of its own (what takes over {SLOW:g} s an iteration "
        "is measured in the first round only). In brackets the ratio to dask_em: above 1 is slower."
    )
    differences = (
        "Differences are of the parameters after the last iteration: the largest of weights times K, means in standard "
        f"deviations of a cloud, and covariances in squared ones. The tolerance is {TOLERANCE:.0e}; what exceeds it is "
        "bold."
    )
    others = [used for cells in results.values() for cell in cells.values() for used in cell.others]
    measured_on += (
        f" Other processes used {np.mean(others):.2f} cores meanwhile, at most {max(others):.2f} during a measurement."
    )
    kinds = list(dict.fromkeys(kind for kind, _ in results))
    parts = ["# An EM iteration beside other implementations", measured_on, how]
    parts += [tables(results, kind, peak) for kind in kinds]
    return "\n\n".join([*parts, differences, "\n".join(versions(arguments.peers))])


def parsed() -> argparse.Namespace:
    """Return the arguments; ``--work``, ``--folder`` and ``--answer`` are for the processes that this script starts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default=SHAPES, help="ROWSxCOLUMNSxCOMPONENTS, separated by commas")
    parser.add_argument("--covariances", default="full", help="of full, tied, diag, spherical")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"of {', '.join(PEERS)}; dask_em is always there")
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for one peer's process")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    for hidden, kind in (("--work", str), ("--folder", Path), ("--answer", Path)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, print and write the comparison."""
    arguments = parsed()
    if arguments.work:
        work(arguments)
        return
    asked = {"dask_em", *arguments.peers.split(",")}
    arguments.peers = [name for name in PEERS if name in asked]
    load = os.getloadavg()[0]
    results: Results = {}
    peaks: list[float] = []
    for covariance in arguments.covariances.split(","):
        for shape in shapes(arguments.shapes):
            results[covariance, shape], seen = compare(shape, covariance, arguments)
            peaks += seen
    page = report(results, peaks, load, arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "peers.md").write_text(page + "\n", encoding="utf-8")
    draw(results, arguments.out / "peers.png")
    print(page)


if __name__ == "__main__":
    main()
