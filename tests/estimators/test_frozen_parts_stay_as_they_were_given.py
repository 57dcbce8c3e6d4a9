"""And the rest is fitted around them: known classes, a background, the results of an earlier fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dask_em
from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.errors import InputError
from tests.families import clouds

Array = np.ndarray[Any, Any]
COVARIANCE_TYPES = ["full", "tied", "diag", "spherical"]
NAN = np.nan
X = clouds(np.random.default_rng(0), 600)
BROAD = 25.0


def scatter(x: Array, about: Array, covariance_type: str) -> Array:
    """Return the covariance of one component about a point."""
    full = (x - about).T @ (x - about) / len(x)
    variances = np.diag(full)
    kinds = {"full": full[None], "tied": full, "diag": variances[None], "spherical": variances.mean(keepdims=True)}
    return np.asarray(kinds[covariance_type])


def before_noise(n: int, seed: int = 0) -> tuple[Array, Array]:
    """Return rows of which three fifths are a broad background about zero, and where the dense others lie."""
    random = np.random.default_rng(seed)
    centre = random.uniform(-6, 6, 2)
    noise = np.sqrt(BROAD) * random.standard_normal((3 * n // 5, 2))
    return np.r_[noise, centre + 0.5 * random.standard_normal((2 * n // 5, 2))], centre


def in_front(**settings: Any) -> GaussianMixture:
    """Return a mixture of a known background and one component to be found."""
    known = {
        "means_init": [[0.0, 0], [NAN, NAN]],
        "precisions_init": np.array([np.eye(2) / BROAD, np.full((2, 2), NAN)]),
    }
    frozen = {"means": [0], "covariances": [0]}
    return GaussianMixture(2, frozen=frozen, tol=1e-6, max_iter=300, random_state=0, **known, **settings)


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_about_a_fixed_mean_the_covariance_is_the_scatter(
    covariance_type: str, accelerate: bool, offset: float
) -> None:
    mean = X.mean(axis=0) + np.array([0.5, -1.0, 0.0, 2.0]) + offset
    settings = {"covariance_type": covariance_type, "accelerate": accelerate, "reg_covar": 0.0, "tol": 1e-9}
    model = GaussianMixture(1, means_init=[mean], frozen={"means": True}, **settings).fit(X + offset)
    np.testing.assert_allclose(model.means_, [mean], rtol=1e-15)
    np.testing.assert_allclose(model.covariances_, scatter(X + offset, mean, covariance_type), rtol=1e-11)
    free = {"full": 10, "tied": 10, "diag": 4, "spherical": 1}[covariance_type]
    assert model.bic(X + offset) == pytest.approx(-1200 * model.score(X + offset) + free * np.log(600))


@pytest.mark.parametrize("n", [4000, 60_000])
@pytest.mark.parametrize("seed", range(3))
def test_a_background_leaves_the_dense_rows_to_the_other(n: int, seed: int) -> None:
    x, centre = before_noise(n, seed)
    model = in_front().fit(x)
    np.testing.assert_allclose(model.means_, [[0, 0], centre], atol=0.06)
    np.testing.assert_array_equal(model.covariances_[0], np.linalg.inv(np.eye(2) / BROAD))
    np.testing.assert_allclose(model.covariances_[1], 0.25 * np.eye(2), atol=0.06)
    np.testing.assert_allclose(model.weights_, [0.6, 0.4], atol=0.03)
    assert model._n_parameters() == 1 + 2 + 3


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_known_classes_take_their_own_rows_and_new_ones_are_found(covariance_type: str) -> None:
    centres = np.array([[0.0, 0, 0], [6, 0, 0], [0, 6, 0], [0, 0, 6]])
    random = np.random.default_rng(1)
    labels = random.integers(4, size=4000)
    x = centres[labels] + random.standard_normal((4000, 3))
    known = np.full((4, 3), NAN)
    known[[3, 1]] = centres[[2, 0]]
    model = GaussianMixture(
        4, covariance_type=covariance_type, means_init=known, frozen={"means": [1, 3]}, random_state=0
    ).fit(x)
    np.testing.assert_allclose(model.means_[[3, 1]], known[[3, 1]], atol=1e-15)
    found = model.means_[[0, 2]]
    assert sorted(np.linalg.norm(found[:, None] - centres[[1, 3]], axis=-1).argmin(axis=0)) == [0, 1]
    assert np.abs(found[:, None] - centres[[1, 3]]).max(axis=-1).min(axis=0).max() < 0.2
    assert (model.predict(x)[labels == 2] == 3).mean() > 0.98


def test_the_others_share_what_frozen_weights_leave() -> None:
    model = GaussianMixture(
        3, weights_init=[NAN, 0.5, NAN], frozen={"weights": [1]}, tol=1e-8, max_iter=1000, random_state=0
    ).fit(X)
    free = GaussianMixture(3, tol=1e-8, max_iter=1000, random_state=0).fit(X)
    shares = model.predict_proba(X).mean(axis=0)
    assert model.weights_[1] == 0.5
    np.testing.assert_allclose(model.weights_[[0, 2]], 0.5 * shares[[0, 2]] / shares[[0, 2]].sum(), atol=1e-3)
    assert model.lower_bound_ < free.lower_bound_
    assert model._n_parameters() == free._n_parameters() - 1


def test_all_of_them_leave_nothing_to_fit() -> None:
    once = GaussianMixture(3, warm_start=True, random_state=0).fit(X)
    weights, means, covariances = once.weights_.copy(), once.means_.copy(), once.covariances_.copy()
    once.set_params(frozen={"means": True, "covariances": True, "weights": True}).fit(X + 0.5)
    np.testing.assert_array_equal(once.weights_, weights)
    np.testing.assert_array_equal(once.covariances_, covariances)
    np.testing.assert_allclose(once.means_, means, atol=1e-15)
    assert once._n_parameters() == 0
    assert once.converged_


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_what_the_last_fit_found_can_be_kept(covariance_type: str) -> None:
    model = GaussianMixture(3, covariance_type=covariance_type, warm_start=True, random_state=0).fit(X)
    means, covariances = model.means_.copy(), model.covariances_.copy()
    model.set_params(frozen={"means": [2], "covariances": True}).fit(X[:300])
    np.testing.assert_allclose(model.means_[2], means[2], atol=1e-15)
    np.testing.assert_array_equal(model.covariances_, covariances)
    assert (model.means_[:2] != means[:2]).all()


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_no_regularization_touches_their_densities(covariance_type: str) -> None:
    """Small covariances would be lowered the most: with all of them frozen, the weights say whether they were."""
    once = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    start = {"means_init": once.means_, "precisions_init": once.precisions_, "weights_init": np.full(3, 1 / 3)}
    settings = {"frozen": {"means": True, "covariances": True}, "tol": 1e-12, "max_iter": 5000}
    known = GaussianMixture(3, covariance_type=covariance_type, reg_covar=0.5, **settings, **start).fit(X)
    plain = GaussianMixture(3, covariance_type=covariance_type, reg_covar=0.0, **settings, **start).fit(X)
    np.testing.assert_array_equal(known.weights_, plain.weights_)
    np.testing.assert_array_equal([entry.objective for entry in known.history_], known.lower_bounds_)


def test_a_shared_covariance_is_kept_for_all() -> None:
    model = GaussianMixture(
        6, covariance_type="tied", precisions_init=4 * np.eye(4), frozen={"covariances": True}, random_state=0
    )
    for _ in model.iterate(X):
        pass
    np.testing.assert_array_equal(model.covariances_, np.eye(4) / 4)
    assert model._n_parameters() == 5 + 6 * 4


def test_a_frozen_component_that_empties_stays() -> None:
    model = GaussianMixture(
        2,
        means_init=[[1e6] * 4, [NAN] * 4],
        precisions_init=np.array([np.eye(4), np.full((4, 4), NAN)]),
        frozen={"means": [0], "covariances": [0]},
        reseed=True,
        random_state=0,
    )
    for _ in model.iterate(X):
        pass
    np.testing.assert_array_equal(model.means_[0], [1e6] * 4)
    np.testing.assert_array_equal(model.covariances_[0], np.eye(4))
    assert model.outcome_.kind == "emptied"
    np.testing.assert_allclose(model.means_[1], X.mean(axis=0))


def test_a_file_and_a_checkpoint_keep_them(tmp_path: Path) -> None:
    x, _ = before_noise(2000)
    whole = in_front().fit(x)
    whole.save(tmp_path / "model.npz")
    again = dask_em.load(tmp_path / "model.npz")
    assert again.frozen == whole.frozen
    np.testing.assert_array_equal(again.means_init, whole.means_init)
    assert digest(again._fitted) == digest(whole._fitted)
    begun = in_front()
    for _ in begun.iterate(x, checkpoints=tmp_path / "run"):
        break
    for _ in begun.iterate(x, checkpoints=tmp_path / "run", resume=True):
        pass
    assert digest(begun._fitted.params) == digest(whole._fitted.params)
    begun.set_params(frozen={"means": [0]})
    with pytest.raises(InputError, match="frozen is another than when the checkpoint was written"):
        next(begun.iterate(x, checkpoints=tmp_path / "run", resume=True))


MEANS = [[0.0] * 4, [NAN] * 4]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"frozen": {"mean": [0]}}, "frozen has 'mean', which is no part of a component. Did you mean 'means'?"),
    ({"frozen": {"means": [2]}}, "names component 2; give numbers from 0 to 1, or True for all"),
    ({"frozen": {"means": [-1]}}, "names component -1; give numbers from 0 to 1"),
    ({"frozen": {"means": "all"}}, "names component 'all'; give numbers"),
    ({"frozen": {"means": [0]}}, "{'means': [0]} has nothing to keep; give it in means_init"),
    ({"frozen": {"means": True}, "means_init": MEANS}, "{'means': [1]} has nothing to keep; give it in means_init"),
    (
        {"frozen": {"covariances": [0]}, "means_init": MEANS},
        "{'covariances': [0]} has nothing to keep; give it in prec",
    ),
    ({"frozen": {"weights": [1]}, "weights_init": [0.5, NAN]}, "{'weights': [1]} has nothing to keep; give it in weig"),
    (
        {"frozen": {"weights": [0]}, "weights_init": [1.0, 0.0]},
        "the frozen weights sum to 1.00000, which leaves nothing",
    ),
    (
        {"frozen": {"weights": [0]}, "weights_init": [1.0, NAN]},
        "weights sum to 1.00000, which leaves nothing for those",
    ),
    ({"frozen": {"weights": [0]}, "weights_init": [0.0, NAN]}, "the frozen weight of component 0 is 0"),
    ({"frozen": {"means": [0]}, "means_init": [[0, NAN, 0, 0], [NAN] * 4]}, "finite numbers, or NaN in all of a comp"),
    ({"frozen": {"covariances": [0]}, "covariance_type": "tied"}, "with tied covariances all components share one"),
    ({"means_init": MEANS}, "'means' holds NaN or infinity; give finite numbers$"),
    ({"frozen": [0]}, "The 'frozen' parameter of GaussianMixture must be an instance of 'dict' or None"),
]


@pytest.mark.parametrize(("settings", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_what_cannot_be_frozen_is_refused_with_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    pattern = sentence.translate(str.maketrans({c: "\\" + c for c in "[]{}()?"}))
    with pytest.raises(ValueError, match=pattern):
        GaussianMixture(2, **settings).fit(X)
