from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dask_em.families import COVARIANCES, GaussianParameters
from dask_em.families.matching import places

Array = np.ndarray[Any, Any]
K, D = 4, 3
RANDOM = np.random.default_rng(0)
MEANS = 5 * RANDOM.standard_normal((K, D))
SHARES = np.array([0.1, 0.2, 0.3, 0.4])
SPREADS = {
    "full": np.array([0.1, 1.0, 10.0, 100.0])[:, None, None] * np.eye(D),
    "tied": np.eye(D),
    "diag": np.array([0.1, 1.0, 10.0, 100.0])[:, None] * np.ones(D),
    "spherical": np.array([0.1, 1.0, 10.0, 100.0]),
}
OWN = ["full", "diag", "spherical"]
NOTHING = np.full(K, np.nan)
ORDER = np.array([2, 0, 3, 1])


def order(name: str, means: Array | None, covariances: Array | None, weights: Array = NOTHING) -> list[int]:
    found = GaussianParameters(MEANS, SPREADS[name])
    told = GaussianParameters(
        np.full((K, D), np.nan) if means is None else means,
        np.full(SPREADS[name].shape, np.nan) if covariances is None else covariances,
    )
    return places(COVARIANCES[name], found, told, SHARES, weights).tolist()


def some(array: Array, known: list[int]) -> Array:
    """Return the array with all but the known components left out."""
    kept = np.full(array.shape, np.nan)
    kept[known] = array[known]
    return kept


@pytest.mark.parametrize("name", list(COVARIANCES))
def test_by_their_means(name: str) -> None:
    assert order(name, MEANS[ORDER], None) == ORDER.tolist()
    assert order(name, some(MEANS[ORDER], [1, 2]), None) == [1, 0, 3, 2]


@pytest.mark.parametrize("name", OWN)
def test_by_their_covariances(name: str) -> None:
    assert order(name, None, SPREADS[name][ORDER]) == ORDER.tolist()
    assert order(name, None, some(SPREADS[name][ORDER], [0])) == [2, 0, 1, 3]


@pytest.mark.parametrize("name", list(COVARIANCES))
def test_by_their_weights(name: str) -> None:
    assert order(name, None, None, SHARES[ORDER]) == ORDER.tolist()
    assert order(name, None, None, some(SHARES[ORDER], [3])) == [0, 2, 3, 1]


@pytest.mark.parametrize("name", list(COVARIANCES))
def test_where_nothing_is_known_all_stay(name: str) -> None:
    assert order(name, None, None) == [0, 1, 2, 3]


def test_the_loss_is_the_divergence_of_all_rows_of_a_component() -> None:
    """A broad one takes the place of few rows, though the mean of many is nearer."""
    found = GaussianParameters(np.array([[0.0, 0], [9, 9]]), np.stack([np.eye(2), 9 * np.eye(2)]))
    told = GaussianParameters(
        np.array([[1.0, 1], [np.nan, np.nan]]), np.stack([100 * np.eye(2), np.full((2, 2), np.nan)])
    )
    assert places(COVARIANCES["full"], found, told, np.array([0.8, 0.2]), NOTHING[:2]).tolist() == [1, 0]
    assert places(COVARIANCES["full"], found, told, np.array([0.1, 0.9]), NOTHING[:2]).tolist() == [0, 1]


def test_no_distance_is_too_far() -> None:
    found = GaussianParameters(MEANS, np.full((K, D, D), 1e-22) + 1e-20 * np.eye(D))
    told = GaussianParameters(some(MEANS + 1e150, [0, 1]), np.full((K, D, D), np.nan))
    assert sorted(places(COVARIANCES["full"], found, told, SHARES, NOTHING).tolist()) == [0, 1, 2, 3]
