from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest

import dask_em
from dask_em import GaussianMixture, MultivariateNormal
from dask_em.errors import DataError, InputError
from tests.families import clouds

X = clouds(np.random.default_rng(0), 600)


@pytest.mark.parametrize("question", ["predict", "predict_proba", "score_samples"])
def test_a_lazy_answer_refuses_what_an_answer_in_memory_refuses(question: str, tmp_path: Path) -> None:
    model = GaussianMixture(2, random_state=0).fit(X)
    bad = X.copy()
    bad[105, 1] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    with pytest.raises(DataError, match="NaN in column 1 of array at row 105"):
        getattr(model, question)(bad)
    with pytest.raises(DataError, match="NaN in column 1 of a chunk of .* at row 5"):
        getattr(model, question)(da.from_array(bad, chunks=(100, 4))).compute()
    with pytest.raises(DataError, match="NaN in column 1 of a chunk of"):
        getattr(model, question)(str(tmp_path / "bad.npy")).compute()


def test_every_constructor_argument_survives_a_file(tmp_path: Path) -> None:
    means = X[:3].tolist()
    model = GaussianMixture(np.int64(3), tol=np.float32(0.1), means_init=means, random_state=np.random.RandomState(0))
    model.fit(X).save(tmp_path / "model.npz")
    again = dask_em.load(tmp_path / "model.npz")
    assert again.n_components == 3
    assert again.tol == np.float32(0.1)
    np.testing.assert_array_equal(again.means_init, means)
    assert again.random_state is None
    assert again.sample(5)[0].shape == (5, 4)


def test_draws_are_of_the_fitted_model_whatever_is_set_since() -> None:
    model = GaussianMixture(3, random_state=0).fit(X)
    assert model.set_params(n_components=5).sample(4)[0].shape == (4, 4)


@pytest.mark.parametrize("n_samples", [0, -1, 2.5, "3"])
def test_draws_are_counted_in_whole_numbers(n_samples: Any) -> None:
    with pytest.raises(InputError, match="ask for at least one row, in a whole number"):
        GaussianMixture(2, random_state=0).fit(X).sample(n_samples)


@pytest.mark.parametrize("covariance_type", ["tied", "diag", "spherical"])
def test_a_warm_start_does_not_misread_another_covariance(covariance_type: str) -> None:
    model = GaussianMixture(4, warm_start=True, random_state=0).fit(X)
    with pytest.raises(InputError, match=f"the last fit has full covariances, not {covariance_type}"):
        model.set_params(covariance_type=covariance_type).fit(X)


@pytest.mark.parametrize("criterion", ["score", "bic", "aic"])
def test_no_weight_has_no_likelihood(criterion: str) -> None:
    model = GaussianMixture(2, random_state=0).fit(X)
    with pytest.raises(InputError, match="all weights of array are zero"):
        getattr(model, criterion)(X, sample_weight=np.zeros(600))


def test_one_row_is_too_few() -> None:
    for fit in (GaussianMixture(1).fit, MultivariateNormal.fit):
        with pytest.raises(InputError, match=r"Found array with 1 sample\(s\) \(shape=\(1, 4\)\) while a minimum of 2"):
            fit(X[:1])


def test_a_vector_is_no_table() -> None:
    model = GaussianMixture(1, random_state=0).fit(X[:, :1])
    for question in (model.predict, GaussianMixture(1).fit):
        with pytest.raises(InputError, match="Expected 2D array, got 1D array instead"):
            question(X[:, 0])


def test_a_frame_without_names_can_be_fitted_and_used() -> None:
    model = GaussianMixture(2, random_state=0).fit(pd.DataFrame(X))
    assert not hasattr(model, "feature_names_in_")
    np.testing.assert_array_equal(model.predict(pd.DataFrame(X)), model.predict(X))


@pytest.mark.parametrize(
    ("covariance_type", "x"),
    [("full", np.c_[X, X[:, 0]]), ("full", X[:3]), ("full", np.c_[X, np.ones(600)]), ("diag", np.c_[X, np.ones(600)])],
)
def test_a_normal_without_spread_in_a_direction_is_refused(covariance_type: str, x: Any) -> None:
    with pytest.raises(InputError, match="has no spread in some direction"):
        MultivariateNormal.fit(x, covariance_type=covariance_type)
