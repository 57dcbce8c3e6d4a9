"""Time to solution, whole process: a store on disk to a fitted mixture, beside scikit-learn, Spark MLlib and mixle.

    pip install -e '.[benchmarks]'
    python benchmarks/solution.py [--shape 5000000x16x8] [--peers scikit-learn,"Spark ML",mixle] [--limit 40]

Each program is started anew, reads the same rows (Zarr; Parquet for Spark), finds its start, and fits to a tolerance,
the largest of a few that brings its log-likelihood within 1e-3 nats per row of dask_em's on the same other rows. Only
the run at that tolerance counts. A program that takes more than ``--limit`` times dask_em's seconds is stopped: its
ratio is at least that. One that comes to rest below at every tolerance is told with what it has reached.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from comparison import machine
from data import shapes
from passes import overlapping

NEAR = 1e-3  # nats per row
JUDGED = 100_000  # rows that solutions are judged on
SEPARATION = 0.3  # of the means, in deviations: they overlap, and EM from k-means comes to the same optimum


def ours(folder: Path, k: int) -> dict[str, Any]:
    """Fit with dask_em from the store, and save."""
    model = importlib.import_module("dask_em").GaussianMixture(k, tol=1e-5, random_state=0)
    model.fit(str(folder / "rows.zarr"))
    return {
        "iterations": model.n_iter_,
        "means": model.means_,
        "weights": model.weights_,
        "covariances": model.covariances_,
    }


def scikit_learn(folder: Path, k: int) -> dict[str, Any]:
    """Read the store into memory, and fit with scikit-learn."""
    rows = importlib.import_module("zarr").open_array(folder / "rows.zarr", mode="r")[:]
    mixture = importlib.import_module("sklearn.mixture").GaussianMixture
    model = mixture(k, tol=float(os.environ["TOLERANCE"]), max_iter=1000, random_state=0).fit(rows)
    return {
        "iterations": model.n_iter_,
        "means": model.means_,
        "weights": model.weights_,
        "covariances": model.covariances_,
    }


def mixle(folder: Path, k: int) -> dict[str, Any]:
    """Read the store into memory, and fit with mixle."""
    rows = importlib.import_module("zarr").open_array(folder / "rows.zarr", mode="r")[:].astype(float)
    mixture = importlib.import_module("mixle.stats.latent.mixture")
    module = importlib.import_module("mixle.stats.multivariate.multivariate_gaussian")
    optimize = importlib.import_module("mixle.inference").optimize
    parts = [module.MultivariateGaussianEstimator(dim=rows.shape[1]) for _ in range(k)]
    delta = float(os.environ["TOLERANCE"]) * len(rows)
    model = optimize(rows, mixture.MixtureEstimator(parts), max_its=1000, delta=delta, rng=np.random.RandomState(0))
    means, covariances = (np.array([getattr(c, name) for c in model.components]) for name in ("mu", "covar"))
    return {
        "iterations": model.fit_provenance().iterations,
        "means": means,
        "weights": np.asarray(model.w),
        "covariances": covariances,
    }


def spark(folder: Path, k: int) -> dict[str, Any]:
    """Read Parquet, and fit with Spark MLlib."""
    builder = importlib.import_module("pyspark.sql").SparkSession.builder.master("local[2]")
    for name, value in {
        "driver.memory": "8g",
        "driver.host": "127.0.0.1",
        "ui.enabled": "false",
        "log.level": "ERROR",
    }.items():
        builder = builder.config(f"spark.{name}", value)
    session = builder.getOrCreate()
    frame = session.read.parquet(str(folder / "rows.parquet"))
    assembler = importlib.import_module("pyspark.ml.feature").VectorAssembler
    frame = assembler(inputCols=frame.columns, outputCol="features").transform(frame).select("features").cache()
    mixture = importlib.import_module("pyspark.ml.clustering").GaussianMixture
    tolerance = float(os.environ["TOLERANCE"]) * frame.count()
    model = mixture(k=k, maxIter=1000, tol=tolerance, seed=1).fit(frame)
    found = model.gaussiansDF.collect()
    answer = {
        "iterations": model.summary.numIter,
        "means": np.array([row["mean"].toArray() for row in found]),
        "weights": np.array(model.weights),
        "covariances": np.array([row["cov"].toArray() for row in found]),
    }
    session.stop()
    return answer


PROGRAMS = {"dask_em": ours, "scikit-learn": scikit_learn, "Spark ML": spark, "mixle": mixle}


def make(folder: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Write the rows as Zarr and as Parquet; return others of the same kind."""
    zarr, arrow = importlib.import_module("zarr"), importlib.import_module("pyarrow")
    n, d, k = shape
    x = overlapping(d, k, SEPARATION, 0, n + JUDGED).astype(np.float32)
    zarr.create_array(folder / "rows.zarr", data=x[:n], chunks=(100_000, d))
    table = arrow.table({f"x{i}": x[:n, i] for i in range(d)})
    importlib.import_module("pyarrow.parquet").write_table(table, folder / "rows.parquet", row_group_size=500_000)
    return x[n:]


def run(
    name: str, folder: Path, k: int, seconds: float | None, tolerance: float
) -> tuple[float, dict[str, Any] | None]:
    """Run a program in a process of its own; return its seconds, and what it found, None where it was stopped."""
    answer = folder / "answer.npz"
    answer.unlink(missing_ok=True)
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--work",
        name,
        "--folder",
        str(folder),
        "--components",
        str(k),
    ]
    began = time.perf_counter()
    environment = {**os.environ, "TOLERANCE": str(tolerance)}
    try:
        subprocess.run(
            command, check=True, timeout=seconds, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
    except subprocess.TimeoutExpired:
        return time.perf_counter() - began, None
    except subprocess.CalledProcessError as error:
        sys.exit(f"{name} failed: {error.stderr.decode()[-2000:]}")
    taken = time.perf_counter() - began
    with np.load(answer) as found:
        return taken, {key: found[key] for key in found}


def log_likelihood(found: dict[str, Any], rows: np.ndarray) -> float:
    """Return the mean log-likelihood, nats per row, by SciPy: the same judge for all."""
    stats, special = importlib.import_module("scipy.stats"), importlib.import_module("scipy.special")
    parts = zip(found["weights"], found["means"], found["covariances"], strict=True)
    logs = [np.log(w) + stats.multivariate_normal(m, c, allow_singular=True).logpdf(rows) for w, m, c in parts]
    return float(special.logsumexp(logs, axis=0).mean())


def main() -> None:
    """Measure, print and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="5000000x16x8")
    parser.add_argument("--peers", default="scikit-learn,Spark ML,mixle")
    parser.add_argument("--limit", type=float, default=40.0, help="times dask_em's seconds")
    parser.add_argument("--tolerances", default="1e-3,1e-4,1e-5", help="of the peers, the first that suffices counts")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    for hidden, kind in (("--work", str), ("--folder", Path), ("--components", int)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        warnings.simplefilter("ignore")
        np.savez(arguments.folder / "answer.npz", **PROGRAMS[arguments.work](arguments.folder, arguments.components))
        return
    ((n, d, k),) = shapes(arguments.shape)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        judged = make(folder, (n, d, k))
        run("dask_em", folder, k, None, 0.0)  # what is compiled once on a machine, and the disk's cache, for all
        taken, found = run("dask_em", folder, k, None, 0.0)
        goal = log_likelihood(found, judged)
        lines = [f"| dask_em | {taken:.1f} | 1 | {int(found['iterations'])} | {goal:.6f} |"]
        print(lines[0], flush=True)
        for name in arguments.peers.split(","):
            lines.append(line(name, folder, k, judged, (taken, goal), arguments))
            print(lines[-1], flush=True)
    told = (
        f"Measured {datetime.now(UTC):%Y-%m-%d} by `benchmarks/solution.py` on {machine()}: {n:,} rows of {d} "
        f"columns (float32), {k} full components; whole processes from a store on disk (Zarr; Parquet for "
        f"Spark), each with its own start, to within {NEAR:g} nats per row of dask_em's log-likelihood on {JUDGED:,} "
        "other rows."
    )
    heads = "| program | seconds | times dask_em | iterations | log-likelihood, nats per row |\n|---|---|---|---|---|"
    page = "\n\n".join(["# Time to solution", told, "\n".join([heads, *lines])])
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "solution.md").write_text(page + "\n", encoding="utf-8")


def line(name: str, folder: Path, k: int, judged: np.ndarray, ours: tuple[float, float], arguments: Any) -> str:
    """Return the line of a peer: at the largest of the tolerances that leads near enough."""
    seconds, goal = ours
    told = ""
    for tolerance in map(float, arguments.tolerances.split(",")):
        taken, found = run(name, folder, k, arguments.limit * seconds, tolerance)
        if found is None:
            return f"| {name} | stopped after {taken:.0f} | over {taken / seconds:.0f} | | not known |"
        reached = log_likelihood(found, judged)
        told = f"| {name} | {taken:.1f} | {taken / seconds:.1f} | {int(found['iterations'])} | {reached:.6f} |"
        if reached >= goal - NEAR:
            return told
    return told + " not reached"


if __name__ == "__main__":
    main()
