"""From 9 to 19 columns the products of all columns serve all components: as right as each about its own mean."""

import dataclasses

import numpy as np
import pytest

from dask_em.families import Full, Gaussian
from dask_em.kernel import compiled_kernel, log_density, reference, responsibilities, summarize
from dask_em.kernel.layout import TRIANGULAR, TRIANGULAR_EXPANDED, pack
from dask_em.mixture import Free, Mixture, MixtureParameters, PreparedMixture
from dask_em.rows import Rows

pytestmark = pytest.mark.skipif(compiled_kernel() is None, reason="nothing is compiled: no numba")

MODEL = Mixture(Gaussian(Full(), 0.0), Free())


def problem(d: int, k: int, apart: float, n: int = 900) -> tuple[Rows, MixtureParameters, PreparedMixture]:
    """Return rows of clouds, some of weight zero, the parameters of their own labels, and these prepared."""
    random = np.random.default_rng(d + k)
    label = random.integers(k, size=n)
    centres = random.standard_normal((k, d))
    centres -= centres.mean(axis=0)
    values = random.standard_normal((n, d)) + apart * centres[label]
    rows = Rows.of(values, random.integers(4, size=n).astype(np.float64))
    params = MODEL.start(rows, np.stack([label == i for i in range(k)]).astype(np.float64))
    return rows, params, MODEL.prepare(params, MODEL.components.frame(np.zeros(d)))


def about_means(prepared: PreparedMixture) -> PreparedMixture:
    return dataclasses.replace(prepared, prepared=dataclasses.replace(prepared.prepared, accurate=False))


@pytest.mark.parametrize("apart", [0.1, 0.5, 1.0, 4.0])  # all rows are shared, then some, then none
@pytest.mark.parametrize(("d", "k"), [(9, 3), (9, 8), (12, 4), (13, 11), (16, 8), (16, 16), (19, 6)])
def test_statistics_are_those_about_the_means(d: int, k: int, apart: float) -> None:
    rows, params, prepared = problem(d, k, apart)
    assert pack(prepared).kind == TRIANGULAR_EXPANDED
    (expected,) = reference.summarize((about_means(prepared),), 480, rows)
    for form, tile_rows in ((prepared, 480), (prepared, 96), (about_means(prepared), 480)):
        found = summarize((form,), tile_rows, rows).members[0]
        assert np.isclose(found.log_likelihood, expected.log_likelihood, rtol=1e-12)
        np.testing.assert_allclose(found.counts, expected.counts, rtol=1e-11)
        ours, theirs = (MODEL.maximize(stats, params).components for stats in (found, expected))
        np.testing.assert_allclose(ours.means, theirs.means, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(ours.covariances, theirs.covariances, rtol=1e-10, atol=1e-12)


def test_tiles_of_both_kinds_add_up() -> None:
    (one, _, prepared), (other, _, _) = problem(12, 8, 2.0), problem(12, 8, 0.1)
    crowded, sparse = ((responsibilities(prepared, 480, part) > 0).mean() for part in (other, one))
    assert crowded > 0.5 > sparse
    rows = Rows.of(np.concatenate([other.values, one.values]), np.concatenate([other.weight, one.weight]))
    both = summarize((prepared,), 480, rows).members[0]
    apart = sum(reference.summarize((prepared,), 480, part)[0].components.products for part in (other, one))
    np.testing.assert_allclose(both.components.products, apart, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize(("d", "k"), [(8, 8), (9, 1), (9, 2), (12, 5), (16, 4), (20, 8)])
def test_elsewhere_each_component_has_its_own(d: int, k: int) -> None:
    assert pack(problem(d, k, 1.0)[2]).kind == TRIANGULAR


def test_rows_get_the_bits_that_they_get_alone() -> None:
    rows, _, prepared = problem(12, 8, 1.0)
    together = log_density(prepared, 480, rows)
    for at in (0, 47, 48, 95, 96, 500, 899):
        assert log_density(prepared, 480, rows[at : at + 1]) == together[at]


@pytest.mark.parametrize("apart", [1.0, 10.0, 1e2, 1e3, 1e6])
def test_only_where_that_costs_no_digits(apart: float) -> None:
    rows, params, prepared = problem(12, 8, apart)
    assert pack(prepared).kind == (TRIANGULAR_EXPANDED if apart <= 10 else TRIANGULAR)
    found = MODEL.maximize(summarize((prepared,), 480, rows).members[0], params).components.covariances
    (exact,) = reference.summarize((about_means(prepared),), 480, rows)
    np.testing.assert_allclose(found, MODEL.maximize(exact, params).components.covariances, rtol=0, atol=2e-11)
