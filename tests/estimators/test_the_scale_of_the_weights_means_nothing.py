from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dask_em import GaussianMixture
from dask_em.errors import DataError
from tests.families import clouds

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)
ROWS = clouds(RANDOM, 3000)
WEIGHTS = RANDOM.uniform(0.5, 2.0, 3000)


def fitted(weights: Array, rows: Array = ROWS, **given: Any) -> GaussianMixture:
    model = GaussianMixture(3, **({"random_state": 0, "tol": 1e-6, "max_iter": 300} | given))
    for _ in model.iterate(rows, sample_weight=weights):
        pass
    return model


def assert_same(one: GaussianMixture, other: GaussianMixture, tolerance: float = 1e-10) -> None:
    assert one._fitted.model.change(one._fitted.params, other._fitted.params) < tolerance
    assert one.outcome_.kind == other.outcome_.kind
    assert one.n_iter_ == other.n_iter_
    assert [entry.fate for entry in one.history_] == [entry.fate for entry in other.history_]


@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("scale", [1e-6, 1 / WEIGHTS.sum()], ids=["1e-6", "sum 1"])
def test_to_a_fit(scale: float, covariance_type: str, accelerate: bool) -> None:
    given = {"covariance_type": covariance_type, "accelerate": accelerate}
    assert_same(fitted(WEIGHTS, **given), fitted(WEIGHTS * scale, **given))


@pytest.mark.parametrize("scale", [1e-200, 1e-20, 1e20, 1e200])
@pytest.mark.parametrize("given", [{}, {"reseed": True}, {"init_params": "k-means++"}], ids=str)
def test_to_any_of_its_choices(given: dict[str, Any], scale: float) -> None:
    assert_same(fitted(WEIGHTS, **given), fitted(WEIGHTS * scale, **given))


@pytest.mark.parametrize("rows", [ROWS, np.tile(ROWS, 6) + RANDOM.standard_normal((3000, 24))], ids=["narrow", "wide"])
@pytest.mark.parametrize("scale", [1e-200, 1e-45, 1e-20, 1e20, 1e40, 1e200])
def test_to_products_in_float32(scale: float, rows: Array) -> None:
    given = {"rows": rows, "precision": "auto", "max_iter": 5, "tol": 0.0}
    assert_same(fitted(WEIGHTS, **given), fitted(WEIGHTS * scale, **given), tolerance=1e-5)
    power = 4.0 ** round(np.log2(scale) / 2)  # whose root is a power of two
    np.testing.assert_array_equal(fitted(WEIGHTS * power, **given).means_, fitted(WEIGHTS, **given).means_)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_to_components_that_die(scale: float) -> None:
    rows = np.r_[np.repeat(ROWS[:2], 50, axis=0), ROWS[:3]]
    weights = np.r_[np.ones(100), WEIGHTS[:3]]
    for reg_covar in (0.0, 1e-3):
        models = [GaussianMixture(4, reg_covar=reg_covar, random_state=0, max_iter=20) for _ in range(2)]
        for model, factor in zip(models, (1.0, scale), strict=True):
            for _ in model.iterate(rows, sample_weight=weights * factor):
                pass
        assert models[0].outcome_.kind == models[1].outcome_.kind
        np.testing.assert_allclose(models[1].weights_, models[0].weights_, rtol=1e-10)
        np.testing.assert_allclose(models[1].means_, models[0].means_, rtol=1e-10)


def test_to_the_light_rows_beside_heavy_ones() -> None:
    heavy = RANDOM.integers(2, size=3000) == 1
    weights = np.where(heavy, 1e8, 1e-8)
    model, alone = fitted(weights), GaussianMixture(3, random_state=0, tol=1e-6)
    alone.set_params(weights_init=model.weights_, means_init=model.means_, precisions_init=model.precisions_)
    alone.fit(ROWS[heavy])
    assert model.converged_
    assert model.score(ROWS, sample_weight=weights) == pytest.approx(alone.score(ROWS[heavy]), abs=1e-5)


def test_unless_they_leave_no_room() -> None:
    with pytest.raises(DataError, match=r"the weights of array add up to 3e\+299.* overflow: divide them all"):
        GaussianMixture(2).fit(ROWS, sample_weight=np.full(3000, 1e296))
    with pytest.raises(DataError, match=r"the weights of array add up to inf"):
        GaussianMixture(2).fit(ROWS, sample_weight=np.full(3000, 1e305))
