"""Sums about one reference, moved to another, are those that are taken there, for every feature map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dask_em.families.features import Linear, Products, SquaredNorm, Squares
from dask_em.family import FeatureMap, ProductStatistics, translate
from dask_em.rows import Rows

Array = np.ndarray[Any, Any]
MAPS = [Linear(), Products(), Squares(), SquaredNorm()]
K = 3


def taken(features: FeatureMap, x: Array, resp: Array, reference: Array | None, shared: bool) -> ProductStatistics:
    """Take Σ r φ(x − reference), row by row of the definition; x is (d, n), resp (k, n)."""
    d, n = x.shape
    arrays = Rows.of(x.T).arrays
    centres = np.zeros((K, d)) if reference is None else reference
    products, scatter = [], np.zeros((d, d))
    for r, centre in zip(resp, centres, strict=True):
        phi = np.ones((features.size(d), n))
        phi[1 : 1 + d] = x - centre[:, None]
        features.build(arrays, phi[1 : 1 + d].copy(), phi)
        products.append(phi @ r)
        scatter += (r * phi[1 : 1 + d]) @ phi[1 : 1 + d].T
    return ProductStatistics(np.stack(products), scatter if shared else None, np.zeros(d), reference)


@pytest.mark.parametrize("shared", [False, True], ids=["each", "shared"])
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("features", MAPS, ids=lambda features: type(features).__name__)
def test_from_anywhere_to_anywhere(features: FeatureMap, d: int, shared: bool) -> None:
    random = np.random.default_rng(d)
    x, resp = random.standard_normal((d, 200)), random.dirichlet(np.ones(K), 200).T
    places = [None, *random.standard_normal((3, K, d))]
    for start in places:
        for end in places[1:]:
            assert end is not None
            moved = translate(taken(features, x, resp, start, shared), features, end)
            there = taken(features, x, resp, end, shared)
            np.testing.assert_allclose(moved.products, there.products, rtol=1e-13, atol=1e-12)
            assert moved.reference is end
            if shared:
                np.testing.assert_allclose(moved.shared, there.shared, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("features", MAPS, ids=lambda features: type(features).__name__)
def test_sums_that_stay_keep_their_bits(features: FeatureMap) -> None:
    random = np.random.default_rng(0)
    x, resp = random.standard_normal((4, 50)), random.dirichlet(np.ones(K), 50).T
    here = random.standard_normal((K, 4))
    stats = taken(features, x, resp, here, shared=True)
    again = translate(stats, features, here.copy())
    assert again.products.tobytes() == stats.products.tobytes()
    np.testing.assert_array_equal(again.shared, stats.shared)


@pytest.mark.parametrize("features", MAPS, ids=lambda features: type(features).__name__)
def test_the_counts_keep_their_bits_however_far_they_go(features: FeatureMap) -> None:
    random = np.random.default_rng(0)
    stats = taken(features, random.standard_normal((3, 50)), random.dirichlet(np.ones(K), 50).T, None, shared=False)
    np.testing.assert_array_equal(translate(stats, features, np.full((K, 3), 1e9)).counts, stats.counts)
