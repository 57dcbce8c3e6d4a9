from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
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


@pytest.mark.parametrize("make", [np.array, list, pd.DataFrame, da.array])
def test_a_given_start_of_any_kind_survives_a_file(make: Any, tmp_path: Path) -> None:
    precisions = np.ones((2, 4))
    settings = {"means_init": make(X[:2]), "precisions_init": make(precisions), "weights_init": np.array([0.5, 0.5])}
    GaussianMixture(2, covariance_type="diag", random_state=0, **settings).fit(X).save(tmp_path / "model.npz")
    again = dask_em.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.means_init, X[:2])
    np.testing.assert_array_equal(again.precisions_init, precisions)
    np.testing.assert_array_equal(again.weights_init, [0.5, 0.5])
    assert again.fit(X).converged_


def test_draws_need_no_matrix_for_each_row() -> None:
    x = np.random.default_rng(0).standard_normal((200, 50))
    model = GaussianMixture(2, random_state=0).fit(x)
    tracemalloc.start()
    drawn, _ = model.sample(5000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * drawn.nbytes


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


NONSENSE: list[tuple[Callable[[GaussianMixture], Any], str]] = [
    (lambda _: dask_em.load(None), "the model file is None; give its path"),  # type: ignore[arg-type]  # on purpose
    (lambda model: model.save(None), "the model file is None; give its path"),
    (lambda model: model.predict([[1, 2, 3, 4], [1, 2]]), "the rows of the list are not of equal length"),
    (lambda model: model.predict_to(X, "answer.zarr", what=["labels"]), "nothing that a mixture predicts"),
    (lambda _: GaussianMixture(missing=np.array([1, 2])).fit(X), "missing=.* is not available yet; leave it at"),
    (lambda _: GaussianMixture(stop_on=np.array([1, 2])).fit(X), "no stopping rule"),
    (lambda _: GaussianMixture(1, means_init=[["a"] * 4]).fit(X), "'means' cannot be read as real numbers"),
    (lambda _: GaussianMixture().fit(X + 1j), "Complex data not supported"),
    (lambda _: GaussianMixture().fit(X[:, :0]), r"0 feature\(s\) \(shape=\(600, 0\)\) while a minimum of 1"),
]


@pytest.mark.parametrize(("ask", "sentence"), NONSENSE, ids=[sentence for _, sentence in NONSENSE])
def test_nonsense_is_refused_with_a_sentence(ask: Callable[[GaussianMixture], Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ask(GaussianMixture(2, random_state=0).fit(X))


def test_reseeding_is_wanted_or_not() -> None:
    with pytest.raises(ValueError, match="The 'reseed' parameter of GaussianMixture must be an instance of 'bool'"):
        GaussianMixture(2, reseed="yes").fit(X)


def test_numbers_in_an_object_array_are_numbers() -> None:
    model = GaussianMixture(2, random_state=0).fit(X)
    np.testing.assert_array_equal(GaussianMixture(2, random_state=0).fit(X.astype(object)).means_, model.means_)
    np.testing.assert_array_equal(model.predict(X.astype(object)), model.predict(X))


@pytest.mark.parametrize("ask", ["fit", "predict", "predict_proba", "score_samples", "score", "partial_fit"])
def test_an_array_without_rows_is_no_data(ask: str) -> None:
    model = GaussianMixture(2, random_state=0).fit(X)
    with pytest.raises(InputError, match="array has no rows; give data with at least one row"):
        getattr(model, ask)(np.empty((0, 4)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        ({"means_init": [[1e200] * 4, [0.0] * 4]}, "'means' holds 1e+200, whose square overflows"),
        ({"precisions_init": [[1e-310] * 4, [1.0] * 4]}, "'diag precision' is so small that its inverse overflows"),
        ({"precisions_init": [[1e308] * 4, [1.0] * 4]}, "'diag precision' holds 1e+308, whose square overflows"),
    ],
)
def test_a_start_beyond_all_numbers_is_refused(start: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        GaussianMixture(2, covariance_type="diag", random_state=0, **start).fit(X)


def test_checkpoints_have_a_folder() -> None:
    with pytest.raises(InputError, match="checkpoints is 3; give the folder"):
        list(GaussianMixture(1).iterate(X, checkpoints=3))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
def test_fewer_clusters_than_were_asked_for_of_k_means_are_nobodys_warning() -> None:
    random = np.random.default_rng(0)
    rows = 4 * random.normal(size=(3, 2))[random.integers(3, size=60_000)] + random.normal(size=(60_000, 2))
    rows[:6_000] = 0.0
    assert GaussianMixture(4, covariance_type="diag", random_state=0).fit(rows).converged_
