"""The implementations that peers.py compares: for each a function that takes a task and returns a fit.

A fit takes a number of iterations and returns the parameters that it ended with. Libraries are imported by name where
they are used, since none but dask_em need be installed.
"""

from __future__ import annotations

import atexit
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from data import DEVIATION

__all__ = ["PEERS", "Answer", "Array", "Fit", "Peer", "Task"]

Array = np.ndarray[Any, Any]


class Answer(NamedTuple):
    """What a fit ended with."""

    iterations: int
    parameters: tuple[Array, Array, Array] | None  # weights (k,), means (k, d), covariances; None from another start


@dataclass(frozen=True)
class Task:
    """What every peer is given."""

    rows: Array  # (n, d)
    weights: Array  # (k,)
    means: Array  # (k, d)
    covariance: str
    cores: int

    @property
    def covariances(self) -> Array:
        """The start's covariances, in the shape of the covariance type."""
        return self._of_every_axis(DEVIATION**2)

    @property
    def precisions(self) -> Array:
        """Their inverses."""
        return self._of_every_axis(DEVIATION**-2)

    def _of_every_axis(self, value: float) -> Array:
        k, d = self.means.shape
        if self.covariance in ("full", "tied"):
            matrix = value * np.eye(d)
            return np.tile(matrix, (k, 1, 1)) if self.covariance == "full" else matrix
        return np.full((k, d) if self.covariance == "diag" else k, value)


Fit = Callable[[int], Answer]


def dask_em(task: Task) -> Fit:
    """Begin with the package of this repository, taking EM's own steps as all others do."""
    return _scikit_learn_like(importlib.import_module("dask_em").GaussianMixture, task, accelerate=False)


def scikit_learn(task: Task) -> Fit:
    """Begin with scikit-learn."""
    # its k-means would run although everything is given, so name what costs least
    mixture = importlib.import_module("sklearn.mixture").GaussianMixture
    return _scikit_learn_like(mixture, task, init_params="random_from_data")


def _scikit_learn_like(mixture: Any, task: Task, **more: Any) -> Fit:
    start = {"weights_init": task.weights, "means_init": task.means, "precisions_init": task.precisions}
    settings = {"covariance_type": task.covariance, "reg_covar": 0.0, "tol": 0.0, **start, **more}

    def fit(iterations: int) -> Answer:
        model = mixture(len(task.weights), max_iter=iterations, **settings).fit(task.rows)
        return Answer(model.n_iter_, (model.weights_, model.means_, model.covariances_))

    return fit


def onedal(task: Task) -> Fit:
    """Begin with oneDAL, through the daal4py that scikit-learn-intelex brings."""
    daal4py = importlib.import_module("daal4py")
    daal4py.daalinit(task.cores)
    storage = {"full": "full", "diag": "diagonal"}[task.covariance]
    start = [np.atleast_2d(one) for one in task.covariances]
    settings = {"nComponents": len(task.weights), "covarianceStorage": storage, "accuracyThreshold": 0.0}

    def fit(iterations: int) -> Answer:
        algorithm = daal4py.em_gmm(maxIterations=iterations, **settings)
        result = algorithm.compute(task.rows, task.weights[None], task.means, start)
        covariances = np.array(result.covariances).reshape(task.covariances.shape)
        return Answer(int(np.ravel(result.nIterations)[0]), (result.weights.ravel(), result.means, covariances))

    return fit


def pomegranate(task: Task) -> Fit:
    """Begin with pomegranate, on PyTorch."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(task.cores)
    torch.set_default_dtype(torch.float64)  # else it sums in single precision
    mixture = importlib.import_module("pomegranate.gmm").GeneralMixtureModel
    normal = importlib.import_module("pomegranate.distributions").Normal
    rows = torch.from_numpy(task.rows)

    def fit(iterations: int) -> Answer:
        start = zip(task.means, task.covariances, strict=True)
        normals = [normal(mean.copy(), each.copy(), covariance_type=task.covariance) for mean, each in start]
        model = mixture(normals, priors=task.weights.copy(), max_iter=iterations, tol=-np.inf).fit(rows)
        means, covariances = ([getattr(n, name).numpy() for n in normals] for name in ("means", "covs"))
        return Answer(iterations, (model.priors.numpy(), np.array(means), np.array(covariances)))

    return fit


def mixle(task: Task) -> Fit:
    """Begin with mixle."""
    mixture = importlib.import_module("mixle.stats.latent.mixture")
    name = {"full": "multivariate_gaussian", "diag": "diagonal_gaussian"}[task.covariance]
    module = importlib.import_module(f"mixle.stats.multivariate.{name}")
    title = name.title().replace("_", "")
    gaussian, part = getattr(module, f"{title}Distribution"), getattr(module, f"{title}Estimator")
    optimize = importlib.import_module("mixle.inference").optimize
    exact = {"ridge": 0.0, "min_covar": 1e-300} if task.covariance == "full" else {}  # plain maximum likelihood

    def fit(iterations: int) -> Answer:
        parts = [part(dim=task.rows.shape[1], **exact) for _ in task.means]
        start = [gaussian(*one) for one in zip(task.means, task.covariances, strict=True)]
        begun = mixture.MixtureDistribution(start, task.weights)
        estimator = mixture.MixtureEstimator(parts)
        model = optimize(task.rows, estimator, max_its=iterations, delta=None, prev_estimate=begun)
        means, covariances = (np.array([getattr(c, name) for c in model.components]) for name in ("mu", "covar"))
        return Answer(model.fit_provenance().iterations, (np.asarray(model.w), means, covariances))

    return fit


def _spark_session(cores: int) -> Any:
    builder = importlib.import_module("pyspark.sql").SparkSession.builder.master(f"local[{cores}]")
    settings = {
        "driver.memory": "6g",
        "driver.host": "127.0.0.1",
        "driver.bindAddress": "127.0.0.1",
        "log.level": "ERROR",
        "python.use.daemon": "false",  # this and the next, so that its processes are waited for, and their time counts
        "python.worker.reuse": "false",
        "ui.enabled": "false",
    }
    for name, value in settings.items():
        builder = builder.config(f"spark.{name}", value)
    session = builder.getOrCreate()
    atexit.register(_close, session)
    return session


def _close(session: Any) -> None:
    """Stop Spark and wait for its virtual machine, which would else run on beside the next peer."""
    gateway = session.sparkContext._gateway
    session.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()


def spark_frame(task: Task) -> Fit:
    """Begin with ``pyspark.ml``, which takes no start."""
    session = _spark_session(task.cores)
    mixture = importlib.import_module("pyspark.ml.clustering").GaussianMixture
    assembler = importlib.import_module("pyspark.ml.feature").VectorAssembler
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    names = [f"x{i}" for i in range(task.rows.shape[1])]
    parquet.write_table(arrow.table(dict(zip(names, task.rows.T, strict=True))), "rows.parquet")  # where it was started
    frame = assembler(inputCols=names, outputCol="features").transform(session.read.parquet("rows.parquet"))
    frame = frame.select("features").repartition(task.cores).cache()
    frame.count()

    def fit(iterations: int) -> Answer:
        model = mixture(k=len(task.weights), maxIter=iterations, tol=0.0, seed=1).fit(frame)
        return Answer(model.summary.numIter, None)

    return fit


@dataclass(frozen=True)
class _SparkStart:
    """What ``pyspark.mllib`` reads of an initial model."""

    k: int
    weights: list[float]
    gaussians: list[Any]


def spark_rdd(task: Task) -> Fit:
    """Begin with ``pyspark.mllib``, which takes a start."""
    context = _spark_session(task.cores).sparkContext
    algebra = importlib.import_module("pyspark.mllib.linalg")
    mixture = importlib.import_module("pyspark.mllib.clustering").GaussianMixture
    gaussian = importlib.import_module("pyspark.mllib.stat.distribution").MultivariateGaussian
    k, d = task.means.shape
    pieces = np.array_split(task.rows, task.cores * max(1, len(task.rows) // 10_000))
    rows = context.parallelize(pieces, task.cores).flatMap(lambda piece: piece).map(algebra.Vectors.dense).cache()
    rows.count()
    covariances = [algebra.DenseMatrix(d, d, one.ravel(order="F")) for one in task.covariances]
    start = [gaussian(algebra.Vectors.dense(m), c) for m, c in zip(task.means, covariances, strict=True)]
    begun = _SparkStart(k, task.weights.tolist(), start)

    def fit(iterations: int) -> Answer:
        model = mixture.train(rows, k, convergenceTol=0.0, maxIterations=iterations, initialModel=begun)
        ended = model.gaussians
        means, full = np.array([g.mu.toArray() for g in ended]), np.array([g.sigma.toArray() for g in ended])
        return Answer(iterations, (np.array(model.weights), means, full))

    return fit


class Peer(NamedTuple):
    """An implementation: how to begin, the covariance types that it has, where its version stands."""

    begin: Callable[[Task], Fit]
    covariances: tuple[str, ...]
    packages: tuple[str, ...]
    remark: str


ALL, SOME = ("full", "tied", "diag", "spherical"), ("full", "diag")
PEERS = {
    "dask_em": Peer(dask_em, ALL, ("dask-em", "numpy"), "in memory, a thread a core"),
    "scikit-learn": Peer(scikit_learn, ALL, ("scikit-learn",), "BLAS on all cores"),
    "oneDAL": Peer(onedal, SOME, ("scikit-learn-intelex", "daal"), "daal4py.em_gmm"),
    "pomegranate": Peer(pomegranate, SOME, ("pomegranate", "torch"), "PyTorch on the CPU, in double precision"),
    "mixle": Peer(mixle, SOME, ("mixle", "numba"), "optimize on its local backend, without its ridge"),
    "Spark ML": Peer(
        spark_frame, ("full",), ("pyspark",), "pyspark.ml on a cached frame; takes no start, so begins at its own"
    ),
    "Spark RDD": Peer(spark_rdd, ("full",), ("pyspark",), "pyspark.mllib on a cached RDD, which takes a start"),
}
