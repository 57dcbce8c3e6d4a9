from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from dask_em import GaussianMixture
from dask_em.driver import Outcome
from dask_em.driver.fates import judged
from dask_em.errors import DataError

RANDOM = np.random.default_rng(0)
CLOUD = RANDOM.standard_normal((300, 2))
DEGENERATE = {
    "a row for each component": (CLOUD[:3], 3),
    "dependent columns": (np.repeat(CLOUD[:, :1], 2, axis=1), 2),
    "more columns than rows": (RANDOM.standard_normal((5, 20)), 3),
    "a constant column": (np.c_[CLOUD, np.ones(300)], 2),
    "one row many times": (np.repeat(CLOUD[:1], 50, axis=0), 3),
    "rounded values": (np.round(CLOUD), 10),
}


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("name", list(DEGENERATE))
def test_the_fit_ends_with_a_finite_model_and_a_true_likelihood(name: str, covariance_type: str) -> None:
    x, components = DEGENERATE[name]
    model = GaussianMixture(components, covariance_type=covariance_type, reg_covar=0.0, tol=1e-6, random_state=0)
    for _ in model.iterate(x):
        pass
    for attribute in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        assert np.isfinite(getattr(model, attribute)).all()
    assert np.isfinite(model.predict_proba(x)).all()
    if covariance_type in ("full", "tied"):
        assert np.isclose(model.score(x), model.to_sklearn().score(x), rtol=1e-4)


def test_the_outcome_names_the_components_and_the_remedy() -> None:
    with pytest.warns(ConvergenceWarning, match="Components 0, 1, 2 collapsed onto too few distinct rows.*reg_covar"):
        model = GaussianMixture(3, reg_covar=0.0, random_state=0).fit(CLOUD[:3])
    assert model.outcome_.kind == "collapsed"
    assert not model.converged_
    assert GaussianMixture(3, random_state=0).fit(CLOUD).outcome_.kind == "converged"


HELD = "Kept from collapsing by the regularization (reg_covar): component 1."


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_and_those_that_the_regularization_alone_keeps_wide(covariance_type: str) -> None:
    x = CLOUD.copy()
    x[:100, 1] = 5.0  # as a column that was rounded has them
    start: dict[str, Any] = {"means_init": [[0, 0], [0, 5]], "weights_init": [0.6, 0.4]}
    model = GaussianMixture(2, covariance_type=covariance_type, random_state=0, **start)
    assert HELD in model.fit(x).outcome_.sentence
    assert model.outcome_.kind == "converged"
    assert HELD in model.partial_fit(x[:50]).outcome_.sentence
    x[:100, 1] += 0.01 * RANDOM.standard_normal(100)
    assert "Kept from collapsing" not in model.fit(x).outcome_.sentence, "a narrow one has its own width"
    start["precisions_init"] = [np.eye(2), np.diag([1, 1e6])] if covariance_type == "full" else [[1, 1], [1, 1e6]]
    frozen = GaussianMixture(2, covariance_type=covariance_type, random_state=0, frozen={"covariances": [1]}, **start)
    assert "Kept from collapsing" not in frozen.fit(x).outcome_.sentence, "it was given so"


@pytest.mark.parametrize("covariance_type", ["tied", "spherical"])
def test_which_no_column_alone_makes_of_a_shared_or_round_one(covariance_type: str) -> None:
    x = np.c_[CLOUD[:, 0], np.full(300, 5.0)]
    told = GaussianMixture(1, covariance_type=covariance_type).fit(x).outcome_.sentence
    assert ("Kept from collapsing" in told) == (covariance_type == "tied")


def test_unless_worse_is_told_of_it() -> None:
    fates = ["emptied", "", "is down to a single row"]
    told = judged(Outcome("converged", "It ended."), fates, narrow=[True, True, True]).sentence
    assert HELD in told
    assert "all components" in judged(Outcome("converged", "It ended."), ["", ""], narrow=[True, True]).sentence


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("apart", [1e3, 1e5, 1e7])
def test_components_far_apart_lose_no_digits(covariance_type: str, apart: float) -> None:
    x = np.concatenate([CLOUD[:150] - apart, CLOUD[150:] + apart])
    model = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0.0, random_state=0).fit(x)
    parts = [np.cov(part.T, bias=True) for part in (CLOUD[:150], CLOUD[150:])]
    expected: dict[str, Any] = {
        "full": np.stack(parts),
        "tied": np.mean(parts, axis=0),
        "diag": np.stack([np.diag(c) for c in parts]),
        "spherical": np.array([np.trace(c) / 2 for c in parts]),
    }
    order = np.argsort(model.means_[:, 0])
    covariances = model.covariances_ if covariance_type == "tied" else model.covariances_[order]
    np.testing.assert_allclose(covariances, expected[covariance_type], atol=1e-7)


@pytest.mark.parametrize("size", [1e160, 1e300])
def test_values_whose_squares_overflow_are_refused(size: float) -> None:
    x = CLOUD.copy()
    x[7, 1] = size
    with pytest.raises(DataError, match=r"column 1 of array reaches from .* to 1e\+.*rescale"):
        GaussianMixture(2).fit(x)


def test_and_an_empty_one_has_no_share_in_a_covariance_that_all_have_in_common() -> None:
    x = np.random.default_rng(0).standard_normal((600, 3))
    start = {"weights_init": [0.5, 0.5, 0], "means_init": [[0] * 3, [1] * 3, [1e6] * 3], "precisions_init": np.eye(3)}
    model = GaussianMixture(3, covariance_type="tied", reg_covar=0, accelerate=False, max_iter=1, **start)
    with pytest.warns(ConvergenceWarning):
        model.fit(x)
    between = np.einsum("k,ki,kj->ij", model.weights_[:2], model.means_[:2], model.means_[:2])
    np.testing.assert_allclose(model.covariances_ + between, x.T @ x / 600, atol=1e-12)
