"""From the same start, each covariance type takes scikit-learn's steps, wherever the rows come from."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture

from dask_em import GaussianMixture

K, D, N = 4, 5, 6_000
Array = np.ndarray[Any, Any]


def rows() -> Array:
    random = np.random.default_rng(0)
    centres = 2.0 * random.standard_normal((K, D))
    skew = np.eye(D) + 0.3 * random.standard_normal((D, D))
    return centres[random.integers(K, size=N)] + random.standard_normal((N, D)) @ skew


def uneven(x: Array, folder: Path) -> Any:
    return da.from_array(x, chunks=((1, 2500, 7, 3492), (2, 3)))


def zarr_v2(x: Array, folder: Path) -> str:
    zarr.create_array(folder / "v2.zarr", data=x, chunks=(700, 2), zarr_format=2)
    return str(folder / "v2.zarr")


def zarr_sharded(x: Array, folder: Path) -> str:
    zarr.create_array(folder / "v3.zarr", data=x, chunks=(100, D), shards=(1000, D), zarr_format=3)
    return str(folder / "v3.zarr")


def parquet(x: Array, folder: Path) -> str:
    (folder / "rows.parquet").mkdir()
    for i, part in enumerate(np.array_split(x, 3)):
        table = pa.table({f"x{j}": part[:, j] for j in range(D)})
        pq.write_table(table, folder / "rows.parquet" / f"{i}.parquet", row_group_size=900)
    return str(folder / "rows.parquet")


def npy(x: Array, folder: Path) -> str:
    np.save(folder / "rows.npy", x)
    return str(folder / "rows.npy")


def unknown(x: Array, folder: Path) -> Any:
    return dd.from_pandas(pd.DataFrame(x), npartitions=4).to_dask_array()


SOURCES: dict[str, Callable[[Array, Path], Any]] = {
    "numpy": lambda x, folder: x,
    "pandas": lambda x, folder: pd.DataFrame(x, columns=[f"x{j}" for j in range(D)]),
    "dask-array-uneven": uneven,
    "dask-array-unknown": unknown,
    "dask-dataframe": lambda x, folder: dd.from_pandas(pd.DataFrame(x).add_prefix("x"), npartitions=5),
    "zarr-v2": zarr_v2,
    "zarr-sharded": zarr_sharded,
    "parquet": parquet,
    "npy": npy,
}
IDENTITY = {
    "full": np.tile(np.eye(D), (K, 1, 1)),
    "tied": np.eye(D),
    "diag": np.ones((K, D)),
    "spherical": np.ones(K),
}


@pytest.mark.parametrize("covariance_type", list(IDENTITY))
@pytest.mark.parametrize("name", list(SOURCES))
def test_twenty_iterations_agree(name: str, covariance_type: str, tmp_path: Path) -> None:
    x = rows()
    settings = {
        "n_components": K,
        "covariance_type": covariance_type,
        "tol": 0.0,
        "max_iter": 20,
        "weights_init": np.full(K, 1 / K),
        "means_init": x[:: N // K][:K],
        "precisions_init": IDENTITY[covariance_type],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # twenty iterations are asked for, not convergence
        theirs = SklearnGaussianMixture(**settings).fit(x)
        ours = GaussianMixture(**settings, accelerate=False).fit(SOURCES[name](x, tmp_path))
    assert ours.n_iter_ == theirs.n_iter_ == 20
    for attribute in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        np.testing.assert_allclose(getattr(ours, attribute), getattr(theirs, attribute), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=1e-10)
    assert np.isclose(ours.lower_bound_, theirs.lower_bound_, rtol=1e-10)


@pytest.mark.parametrize("covariance_type", list(IDENTITY))
def test_answers_agree(covariance_type: str) -> None:
    x = rows()
    theirs = SklearnGaussianMixture(K, covariance_type=covariance_type, random_state=0).fit(x)
    ours = GaussianMixture.from_sklearn(theirs)
    np.testing.assert_allclose(ours.score_samples(x), theirs.score_samples(x), rtol=1e-10)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-10)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    for criterion in ("score", "bic", "aic"):
        assert np.isclose(getattr(ours, criterion)(x), getattr(theirs, criterion)(x), rtol=1e-10)
