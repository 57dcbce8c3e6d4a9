"""Constructor, attributes, meanings and errors of sklearn.mixture.GaussianMixture."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dask_em import GaussianMixture
from dask_em.errors import InputError
from tests.families import clouds

X = clouds(np.random.default_rng(0), 600)


def test_the_constructor_is_the_same() -> None:
    theirs = inspect.signature(SklearnGaussianMixture).parameters
    ours = inspect.signature(GaussianMixture).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    assert all(ours[name].default == theirs[name].default and ours[name].kind == theirs[name].kind for name in theirs)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_it_has_the_same_attributes_with_the_same_shapes(covariance_type: str) -> None:
    theirs = SklearnGaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    ours = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    public = [name for name in vars(theirs) if name.endswith("_") and not name.startswith("_")]
    for name in public:
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert type(mine) is type(other) or isinstance(mine, float), name
        if isinstance(other, np.ndarray):
            assert mine.shape == other.shape, name
    assert len(ours.lower_bounds_) == ours.n_iter_ == len(ours.history_)
    assert ours.lower_bound_ == ours.lower_bounds_[-1] == ours.history_[-1].log_likelihood


BAD: list[tuple[dict[str, Any], str]] = [
    ({"n_components": 0}, "n_components"),
    ({"tol": -1.0}, "tol"),
    ({"reg_covar": -1.0}, "reg_covar"),
    ({"max_iter": -1}, "max_iter"),
    ({"n_init": 0}, "n_init"),
    ({"covariance_type": "round"}, "covariance_type"),
    ({"n_components": 2, "weights_init": [0.5, 0.6]}, "weights"),
    ({"n_components": 2, "weights_init": [1.5, -0.5]}, "range"),
    ({"n_components": 2, "weights_init": [1.0]}, "shape"),
    ({"n_components": 2, "means_init": np.zeros((2, 3))}, "means"),
    ({"n_components": 2, "precisions_init": -np.tile(np.eye(4), (2, 1, 1))}, "positive"),
    ({"n_components": 2, "covariance_type": "diag", "precisions_init": np.zeros((2, 4))}, "positive"),
    ({"n_components": 601}, "n_samples >= n_components"),
]


@pytest.mark.parametrize(("settings", "word"), BAD)
def test_bad_settings_raise_the_same_errors(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word) as theirs:
        SklearnGaussianMixture(**settings).fit(X)
    with pytest.raises(ValueError, match=word) as ours:
        GaussianMixture(**settings).fit(X)
    sentence = str(theirs.value).split(".")[0].split(" but got")[0]
    assert sentence.replace("SklearnGaussianMixture", "GaussianMixture") in str(ours.value)


def test_a_kind_of_start_that_nobody_knows_is_told_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"'init_params' parameter .* must be a str among .*'k-means\|\|'.* Got 'lucky'"
    ):
        GaussianMixture(init_params="lucky").fit(X)


def test_data_of_another_width_raises_the_same_error() -> None:
    for model in (SklearnGaussianMixture(2).fit(X), GaussianMixture(2).fit(X)):
        with pytest.raises(ValueError, match="X has 3 features, but GaussianMixture is expecting 4 features as input"):
            model.predict(X[:, :3])


def test_an_unfitted_model_says_so() -> None:
    with pytest.raises(NotFittedError):
        GaussianMixture(2).predict(X)


def test_a_fit_that_did_not_converge_warns_and_can_be_used() -> None:
    with pytest.warns(ConvergenceWarning, match="not converged.*Allow more passes"):
        model = GaussianMixture(3, max_iter=2, tol=1e-9, random_state=0).fit(X)
    assert not model.converged_
    assert model.n_iter_ == 2
    assert np.isfinite(model.score(X))


def test_no_pass_gives_the_start() -> None:
    model = GaussianMixture(3, max_iter=0, random_state=0).fit(X)
    assert model.n_iter_ == 0
    assert model.lower_bounds_ == []
    assert np.isfinite(model.score(X))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("missing", "marginalize"),
    ],
)
def test_what_is_not_there_yet_is_refused_with_a_sentence(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name}={value!r} is not available yet; leave it at"):
        GaussianMixture(2, **{name: value}).fit(X)


def test_it_can_be_cloned_searched_and_piped() -> None:
    model = GaussianMixture(2, random_state=0, stop_on="parameters")
    assert clone(model).get_params() == model.get_params()
    search = GridSearchCV(GaussianMixture(random_state=0), {"n_components": [1, 3]}, cv=2).fit(X)
    assert search.best_params_ == {"n_components": 3}
    assert make_pipeline(StandardScaler(), model).fit_predict(X).shape == (600,)


def test_a_warm_start_goes_on() -> None:
    model = GaussianMixture(3, warm_start=True, max_iter=3, tol=0.0, random_state=0)
    with pytest.warns(ConvergenceWarning):
        first = model.fit(X).lower_bound_
    with pytest.warns(ConvergenceWarning):
        assert model.fit(X).lower_bounds_[0] > first
    with pytest.raises(InputError, match="warm_start=True, but the last fit has 3 components in 4 columns"):
        model.set_params(n_components=2).fit(X)


def test_a_warm_start_takes_no_column_for_another() -> None:
    frame = pd.DataFrame(X[:, :2], columns=["a", "b"])
    model = GaussianMixture(2, warm_start=True, random_state=0).fit(frame)
    with pytest.raises(InputError, match="the columns are b, a, and those of the last fit a, b; give the same"):
        model.fit(frame[["b", "a"]])
    assert model.fit(frame).converged_


def test_the_best_of_several_starts_is_kept_and_all_share_the_passes() -> None:
    single = [GaussianMixture(3, init_params="random", tol=1e-6, max_iter=500, random_state=s).fit(X) for s in range(4)]
    model = GaussianMixture(3, init_params="random", tol=1e-6, max_iter=500, n_init=6, random_state=0)
    members: dict[int, list[float]] = {}
    for iteration in model.iterate(X):
        members.setdefault(iteration.member, []).append(iteration.entry.log_likelihood)
    assert len(members) == 6
    assert model.lower_bound_ == max(max(bounds) for bounds in members.values())
    assert model.lower_bound_ >= min(m.lower_bound_ for m in single)


def test_a_caller_who_breaks_keeps_what_was_reached() -> None:
    model = GaussianMixture(3, tol=0.0, random_state=0)
    for iteration in model.iterate(X):
        if iteration.entry.number == 2:
            break
    assert model.n_iter_ == 2
    assert model.outcome_.kind == "stopped"
    assert model.predict(X).shape == (600,)


def test_names_of_columns_are_kept_and_asked_for() -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = GaussianMixture(2, random_state=0).fit(frame)
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(model.predict(frame[["d", "c", "b", "a"]]), model.predict(frame))
    with pytest.raises(ValueError, match="'d'"):
        model.predict(frame[["a", "b", "c"]])


def test_samples_come_from_the_mixture() -> None:
    model = GaussianMixture(3, random_state=0).fit(X)
    drawn, labels = model.sample(20_000)
    assert drawn.shape == (20_000, 4)
    assert abs(np.bincount(labels) / 20_000 - model.weights_).max() < 0.02
    for k in range(3):
        np.testing.assert_allclose(drawn[labels == k].mean(axis=0), model.means_[k], atol=0.15)
        np.testing.assert_allclose(np.cov(drawn[labels == k].T), model.covariances_[k], atol=0.15)
    with pytest.raises(ValueError, match="at least one"):
        model.sample(0)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_to_and_from_scikit_learn_change_nothing(covariance_type: str) -> None:
    ours = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    theirs = ours.to_sklearn()
    again = GaussianMixture.from_sklearn(theirs)
    np.testing.assert_array_equal(theirs.predict(X), ours.predict(X))
    for model in (theirs, again):
        np.testing.assert_allclose(model.score_samples(X), ours.score_samples(X), rtol=1e-12)
        assert model.n_features_in_ == 4
