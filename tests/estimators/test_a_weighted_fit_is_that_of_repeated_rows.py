from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dask_em import GaussianMixture
from dask_em.errors import InputError
from tests.families import clouds

Array = np.ndarray[Any, Any]
N, K = 6000, 3
WEIGHTS = np.random.default_rng(0).integers(0, 4, N)
ROWS = clouds(np.random.default_rng(1), N)
ROWS[WEIGHTS == 0] *= 1e6  # what is absent may lie anywhere
REPEATED = np.repeat(ROWS, WEIGHTS, axis=0)
PRECISIONS = {"full": np.stack([np.eye(4)] * K), "tied": np.eye(4), "diag": np.ones((K, 4)), "spherical": np.ones(K)}


def fitted(rows: Array, weights: Array | None, covariance_type: str, **given: Any) -> GaussianMixture:
    """Return a mixture fitted from one given start."""
    means = ROWS[WEIGHTS == 3][[5, 50, 500]]
    start = {"weights_init": np.ones(K) / K, "means_init": means, "precisions_init": PRECISIONS[covariance_type]}
    model = GaussianMixture(K, covariance_type=covariance_type, **start, **given)
    for _ in model.iterate(rows, sample_weight=weights):
        pass
    return model


def assert_same_parameters(one: GaussianMixture, other: GaussianMixture, tolerance: float = 1e-8) -> None:
    assert one._fitted.model.change(one._fitted.params, other._fitted.params) < tolerance
    np.testing.assert_allclose(one.means_, other.means_, atol=tolerance)
    np.testing.assert_allclose(one.covariances_, other.covariances_, atol=tolerance)


@pytest.mark.parametrize("reg_covar", [1e-6, 1e-2])
@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("covariance_type", list(PRECISIONS))
def test_after_ten_passes(covariance_type: str, accelerate: bool, reg_covar: float) -> None:
    given = {"accelerate": accelerate, "reg_covar": reg_covar, "max_iter": 10, "tol": 0.0}
    weighted = fitted(ROWS, WEIGHTS, covariance_type, **given)
    repeated = fitted(REPEATED, None, covariance_type, **given)
    assert_same_parameters(weighted, repeated)
    np.testing.assert_allclose(weighted.lower_bounds_, repeated.lower_bounds_, rtol=1e-12)
    assert weighted.bic_ == pytest.approx(repeated.bic_, rel=1e-12)


@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("covariance_type", list(PRECISIONS))
def test_where_it_has_converged(covariance_type: str, accelerate: bool) -> None:
    given = {"accelerate": accelerate, "tol": 1e-6, "max_iter": 500, "reseed": True}
    weighted = fitted(ROWS, WEIGHTS, covariance_type, **given)
    repeated = fitted(REPEATED, None, covariance_type, **given)
    assert weighted.converged_
    assert weighted.outcome_.sentence == repeated.outcome_.sentence
    assert_same_parameters(weighted, repeated)
    assert_same_parameters(weighted, fitted(ROWS, WEIGHTS * 1e-6, covariance_type, **given))


@pytest.mark.parametrize("criterion", ["score", "bic", "aic"])
def test_what_it_says_of_weighted_rows(criterion: str) -> None:
    model = fitted(ROWS, WEIGHTS, "full")
    weighted = getattr(model, criterion)(ROWS, sample_weight=WEIGHTS)
    assert weighted == pytest.approx(getattr(model, criterion)(REPEATED), rel=1e-12)


def test_the_number_of_rows_in_a_criterion_is_the_total_weight() -> None:
    model = fitted(ROWS, WEIGHTS, "full", max_iter=3, tol=0.0)
    total = WEIGHTS.sum()
    deviance, freedom = -2 * total * model.score(REPEATED), K - 1 + K * 4 + K * 10
    assert model.bic(ROWS, sample_weight=WEIGHTS) == pytest.approx(deviance + freedom * np.log(total), rel=1e-12)
    assert model.aic(ROWS, sample_weight=WEIGHTS) == pytest.approx(deviance + freedom * 2, rel=1e-12)
    assert model.score(ROWS, sample_weight=WEIGHTS / total) == pytest.approx(model.score(REPEATED), rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_a_component_of_one_row_is_seen_among_absent_rows(scale: float) -> None:
    alone = np.full((1, 4), 40.0)
    means = np.concatenate([ROWS[WEIGHTS == 3][[5, 50]], alone])
    rows = np.concatenate([ROWS[WEIGHTS > 0], alone, np.zeros((9 * N, 4))])
    weights = scale * (np.arange(len(rows)) <= (WEIGHTS > 0).sum())
    start = {"weights_init": np.ones(K) / K, "means_init": means, "precisions_init": PRECISIONS["full"]}
    model = GaussianMixture(K, **start, tol=1.0).fit(rows, sample_weight=weights)
    assert model.outcome_.sentence.endswith("Left with a single row: component 2.")


def test_few_rows_are_found_among_many_absent_ones() -> None:
    weights = np.arange(100_000) % 20_000 == 17
    rows = np.random.default_rng(0).standard_normal((len(weights), 2))
    model = GaussianMixture(3, random_state=0, reg_covar=0.1, max_iter=200).fit(rows, sample_weight=weights)
    assert model.converged_
    with pytest.raises(InputError, match="got n_components = 6, n_samples = 5"):
        GaussianMixture(6).fit(rows, sample_weight=weights)
