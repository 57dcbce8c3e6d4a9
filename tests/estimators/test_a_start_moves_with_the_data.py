from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dask_em import GaussianMixture

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)
ROWS = 2.0 * RANDOM.standard_normal((4, 3))[RANDOM.integers(4, size=3000)] + RANDOM.standard_normal((3000, 3))
ONE_COLUMN = np.diag([1000.0, 1.0, 1.0])
MIXED = np.array([[50.0, 3.0, 0.0], [0.0, 0.2, 1.0], [4.0, 0.0, 7.0]])
TURNED = 7.0 * np.linalg.qr(RANDOM.standard_normal((3, 3)))[0]
KINDS = ["kmeans", "k-means++", "random_from_data", "k-means||"]


def begun(x: Array, covariance: str, kind: str) -> GaussianMixture:
    return GaussianMixture(
        4, covariance_type=covariance, init_params=kind, max_iter=0, reg_covar=0.0, random_state=0
    ).fit(x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("covariance", "change"),
    [("full", MIXED), ("tied", MIXED), ("full", ONE_COLUMN), ("diag", ONE_COLUMN), ("spherical", TURNED)],
)
def test_whatever_its_units(covariance: str, change: Array, kind: str) -> None:
    plain, moved = begun(ROWS, covariance, kind), begun(ROWS @ change + 5.0, covariance, kind)
    np.testing.assert_array_equal(plain.predict(ROWS), moved.predict(ROWS @ change + 5.0))
    np.testing.assert_allclose(moved.weights_, plain.weights_)
    np.testing.assert_allclose(moved.means_, plain.means_ @ change + 5.0, rtol=1e-6, atol=1e-6)


def test_down_to_the_labels_of_the_fit() -> None:
    fits = [GaussianMixture(4, random_state=0, reg_covar=0.0).fit(x) for x in (ROWS, ROWS @ ONE_COLUMN)]
    np.testing.assert_array_equal(fits[0].predict(ROWS), fits[1].predict(ROWS @ ONE_COLUMN))
