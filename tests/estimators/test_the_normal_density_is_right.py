from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest
from scipy import stats

from dask_em import MultivariateNormal
from dask_em.errors import InputError

RANDOM = np.random.default_rng(0)
MEAN = np.array([1.0, -2.0, 0.5])
FULL = np.array([[2.0, 0.5, 0.3], [0.5, 1.0, -0.2], [0.3, -0.2, 0.7]])
POINTS = RANDOM.standard_normal((50, 3)) * 2
CASES = {"full": (FULL, FULL), "diag": (np.diag(FULL), np.diag(np.diag(FULL))), "spherical": (1.7, 1.7 * np.eye(3))}


@pytest.mark.parametrize(("cov", "dense"), CASES.values(), ids=CASES)
def test_densities_are_scipys(cov: Any, dense: np.ndarray) -> None:
    ours, theirs = MultivariateNormal(MEAN, cov), stats.multivariate_normal(MEAN, dense)
    np.testing.assert_allclose(ours.logpdf(POINTS), theirs.logpdf(POINTS), rtol=1e-12)
    np.testing.assert_allclose(ours.pdf(POINTS), theirs.pdf(POINTS), rtol=1e-11)
    assert np.isclose(ours.logpdf(POINTS[0]), theirs.logpdf(POINTS[0]))
    deviations = POINTS - MEAN
    squared = np.einsum("ni,ij,nj->n", deviations, np.linalg.inv(dense), deviations)
    np.testing.assert_allclose(ours.mahalanobis(POINTS), np.sqrt(squared), rtol=1e-12)


@pytest.mark.parametrize(("cov", "dense"), CASES.values(), ids=CASES)
def test_marginal_times_conditional_is_joint(cov: Any, dense: np.ndarray) -> None:
    joint = MultivariateNormal(MEAN, cov)
    for point in POINTS[:5]:
        given = joint.marginal([2, 0]).logpdf(point[[2, 0]])
        rest = joint.conditional([2, 0], point[[2, 0]]).logpdf(point[[1]])
        assert np.isclose(given + rest, joint.logpdf(point), rtol=1e-12)


@pytest.mark.parametrize(("cov", "dense"), CASES.values(), ids=CASES)
def test_draws_have_its_moments(cov: Any, dense: np.ndarray) -> None:
    drawn = MultivariateNormal(MEAN, cov).rvs(200_000, random_state=1)
    np.testing.assert_allclose(drawn.mean(axis=0), MEAN, atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), dense, atol=0.03)


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_the_fit_is_maximum_likelihood(covariance_type: str, offset: float) -> None:
    x = POINTS + offset
    cov = np.cov(POINTS.T, bias=True)
    expected = {"full": cov, "diag": np.diag(cov), "spherical": np.trace(cov) / 3}[covariance_type]
    for data in (x, da.from_array(x, chunks=(17, 3))):
        fitted = MultivariateNormal.fit(data, covariance_type=covariance_type)
        np.testing.assert_allclose(fitted.mean, x.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(fitted.cov, expected, rtol=1e-8)


def test_weights_are_repetition() -> None:
    weights = np.arange(50) % 3
    one = MultivariateNormal.fit(POINTS, sample_weight=weights)
    other = MultivariateNormal.fit(np.repeat(POINTS, weights, axis=0))
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12)
    np.testing.assert_allclose(one.cov, other.cov, rtol=1e-12)


def test_a_dask_array_gets_a_dask_array() -> None:
    density = MultivariateNormal(MEAN, FULL)
    lazy = density.logpdf(da.from_array(POINTS, chunks=(20, 3)))
    assert lazy.chunks == ((20, 20, 10),)
    np.testing.assert_allclose(lazy.compute(), density.logpdf(POINTS))


@pytest.mark.parametrize(
    ("mean", "cov", "sentence"),
    [
        ([0, 0], np.zeros((3, 3)), r"cov has shape \(3, 3\); give \(2, 2\), \(2,\) or a number"),
        ([0, 0], [[1, 2], [2, 1]], "cov is not positive definite"),
        ([0, 0], [[1, 2], [0, 1]], "cov is not symmetric"),
        ([0, 0], -1.0, "cov is not positive definite"),
        ([0, np.nan], 1.0, "mean has shape"),
        ([0, 0], [[1, np.inf], [np.inf, 1]], "cov holds NaN or infinity"),
    ],
)
def test_what_is_no_normal_is_refused(mean: Any, cov: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        MultivariateNormal(mean, cov)


@pytest.mark.parametrize("x", [1.0, [1.0, 2.0, 3.0], [[1.0], [2.0]], [1.0]])
def test_of_one_column_a_number_is_a_row_as_for_scipy(x: Any) -> None:
    ours, theirs = MultivariateNormal(0.5, 2.0), stats.multivariate_normal(0.5, 2.0)
    assert np.shape(ours.logpdf(x)) == np.shape(theirs.logpdf(x)) or np.size(x) == 1
    np.testing.assert_allclose(ours.logpdf(x), theirs.logpdf(x), rtol=1e-12)
    np.testing.assert_allclose(ours.pdf(x), theirs.pdf(x), rtol=1e-12)


BAD: list[tuple[Callable[[MultivariateNormal], Any], str]] = [
    (lambda _: MultivariateNormal("a"), "mean cannot be read as real numbers"),
    (lambda _: MultivariateNormal([[1], [2, 3]]), "mean cannot be read as real numbers"),
    (lambda _: MultivariateNormal([0], "x"), "cov cannot be read as real numbers"),
    (lambda _: MultivariateNormal([1j]), "mean cannot be read as real numbers"),
    (lambda _: MultivariateNormal([]), r"mean has shape \(0,\)"),
    (lambda density: density.rvs(-1), "size is -1; give a whole number of rows"),
    (lambda density: density.rvs(2.5), "size is 2.5; give a whole number of rows"),
    (lambda density: density.rvs(2, "x"), "random_state is 'x'; give a whole number, a generator or None"),
    (lambda density: density.conditional([0], [3, 4]), "give a finite number for each of the 1 given columns"),
    (lambda density: density.conditional([0], [np.nan]), "give a finite number for each of the 1 given columns"),
    (lambda density: density.conditional([0], ["a"]), "values cannot be read as real numbers"),
    (lambda density: density.logpdf("a"), "x cannot be read as real numbers"),
    (lambda density: density.fit(POINTS, covariance_type=["full"]), "covariance_type is .* none of ours"),
]


@pytest.mark.parametrize(("ask", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_nonsense_is_refused_with_a_sentence(ask: Callable[[MultivariateNormal], Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ask(MultivariateNormal(MEAN, FULL))


def test_bad_questions_are_refused() -> None:
    density = MultivariateNormal(MEAN, FULL)
    with pytest.raises(InputError, match="its last axis must have the 3 columns"):
        density.logpdf(np.zeros((4, 2)))
    with pytest.raises(InputError, match="distinct numbers from 0 to 2"):
        density.marginal([0, 3])
    with pytest.raises(InputError, match="leave at least one"):
        density.conditional([0, 1, 2], [0, 0, 0])
    with pytest.raises(InputError, match="'tied' needs several components"):
        MultivariateNormal.fit(POINTS, covariance_type="tied")
