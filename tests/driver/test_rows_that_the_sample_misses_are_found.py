from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from dask_em.driver.examination import examine
from dask_em.driver.initialization import measured, starts
from dask_em.driver.scalable_kmeans import Wanted, enriched
from dask_em.execution import Threads
from dask_em.families import Diagonal, Full, Gaussian, Poisson, Spherical
from dask_em.kernel import Holdout, Metric, Search, far_rows
from dask_em.mixture import Free, Mixture, MixtureParameters
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Reducer, Serial
from dask_em.rows import Frame, Rows
from dask_em.storage.blocks import Layout
from tests.sources import Chunks

Array = np.ndarray[Any, Any]
N, D, FEW, K = 40_000, 8, 10, 4  # of 8 columns, products of other shapes round otherwise
CUTS = [(N,), (1, 17_000, 2, 22_997), (5_000,) * 8]


def scattered() -> tuple[Array, Array]:
    """Return three clouds and a few rows far away from them, and where those are."""
    random = np.random.default_rng(0)
    values = 3.0 * random.standard_normal((3, D))[random.integers(3, size=N)] + random.standard_normal((N, D))
    few = random.choice(N, FEW, replace=False)
    values[few] += 200.0
    return values, few


VALUES, FAR = scattered()


def layout(values: Array = VALUES, cuts: tuple[int, ...] = CUTS[0], weights: Array | None = None) -> Layout:
    chunks = Chunks(values, cuts, weights=weights)
    return plan(chunks, chunks.atoms(), ModelSize(K, 45)).layout


def found(reducer: Reducer, model: Mixture[Any], seeds: tuple[int, ...] = (0,), holdout: Holdout | None = None) -> Any:
    """Return the metric, the sample of pass 0, and what it is joined by."""
    survey = examine(reducer, 1000, 1, holdout)
    metric = measured(model, survey.sample)
    wanted = [Wanted(metric, K, np.random.RandomState(seed)) for seed in seeds]
    return metric, survey.sample, enriched(reducer, survey.sample, wanted, holdout)


def start(model: Mixture[Any], rows: Rows, metric: Metric) -> MixtureParameters:
    """Return a start in the metric's frame."""
    entered = Rows.of(metric.frame.enter(rows.values), rows.weight)
    ((_, params),) = starts(model, entered, K, "kmeans", [(metric, np.random.RandomState(0))])
    return params


@pytest.mark.parametrize("covariance", [Full(), Diagonal(), Spherical()])
def test_with_their_weight_and_a_component_of_their_own(covariance: Any) -> None:
    model = Mixture(Gaussian(covariance), Free())
    metric, sample, (rows,) = found(Serial(layout()), model)
    assert not np.isin(FAR, sample.index).any()
    far = rows.values[:, 0] > 100
    assert rows.weight[far].sum() == FEW
    assert rows.weight.sum() == pytest.approx(N, rel=1e-12)
    params = start(model, rows, metric)
    means = metric.frame.leave(params.components.means)
    (own,) = np.flatnonzero(means[:, 0] > 100)
    assert params.weights[own] == pytest.approx(FEW / N)
    np.testing.assert_allclose(means[own], VALUES[FAR].mean(axis=0), atol=6.0)


@pytest.mark.parametrize("rounded", [VALUES, (VALUES / 2).round()])  # of whole numbers, many are as near to two centres
def test_the_same_whatever_the_chunks_and_threads(rounded: Array) -> None:
    model = Mixture(Gaussian(Spherical()), Free())
    whole = found(Serial(layout(rounded)), model)[2][0]
    reducers = [Serial(layout(rounded, cuts)) for cuts in CUTS[1:]] + [Threads(layout(rounded, CUTS[1]), 3)]
    for reducer in reducers:
        other = found(reducer, model)[2][0]
        np.testing.assert_array_equal(other.weight, whole.weight)
        np.testing.assert_array_equal(other.values, whole.values)


def test_in_reads_that_all_starts_share() -> None:
    class Counting(Serial):
        reads = 0

        def total(self, kernel: Any) -> Any:
            self.reads += 1
            return super().total(kernel)

    counting = Counting(layout())
    _, _, (one, other) = found(counting, Mixture(Gaussian(Full()), Free()), (0, 1))
    assert counting.reads == 1 + 6
    alone = found(Serial(layout()), Mixture(Gaussian(Full()), Free()), (1,))[2][0]
    np.testing.assert_array_equal(other.weight, alone.weight)
    assert not np.array_equal(one.weight, other.weight)


def test_in_any_family() -> None:
    counts = np.random.default_rng(0).poisson(3.0, (N, 2)).astype(np.float64)
    counts[FAR] += 500
    model = Mixture(Poisson(), Free())
    metric, _, (rows,) = found(Serial(layout(counts)), model)
    params = start(model, rows, metric)
    assert params.components.rates[:, 0].max() > 490


def test_but_not_those_that_weigh_nothing() -> None:
    weights = np.ones(N)
    weights[FAR[:4]] = 0.0
    _, _, (rows,) = found(Serial(layout(weights=weights)), Mixture(Gaussian(Full()), Free()))
    far = rows.values[:, 0] > 100
    assert rows.weight[far].sum() == FEW - 4


def test_nor_those_that_are_held_out() -> None:
    holdout = Holdout(0.5, 3)
    kept = ~holdout.holds(Rows.of(VALUES))[FAR]
    _, _, (rows,) = found(Serial(layout()), Mixture(Gaussian(Full()), Free()), holdout=holdout)
    far = rows.values[:, 0] > 100
    assert 0 < kept.sum() < FEW
    assert rows.weight[far].sum() == kept.sum()


def test_and_nothing_is_where_all_rows_are_alike() -> None:
    values = np.repeat([[1.0, 2.0], [3.0, 4.0]], N // 2, axis=0)
    _, sample, (rows,) = found(Serial(layout(values)), Mixture(Gaussian(Full()), Free()))
    assert len(rows) == len(sample.values)
    assert rows.weight.sum() == pytest.approx(N)


def test_by_weight_times_squared_distance() -> None:
    values, weight = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([5.0, 4.0, 1.0, 2.0])
    metric, rows = Metric(Frame.identity(1), np.eye(1)), Rows.of(values, weight)
    searches = tuple(Search(metric, np.zeros((1, 1)), 1, seed) for seed in range(4000))
    drawn = [int(sample.index[0]) for sample in far_rows(searches, 4, rows).members]
    odds = weight * values[:, 0] ** 2
    counts = np.bincount(drawn, minlength=4)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:], len(drawn) * odds[1:] / odds.sum()).pvalue > 1e-3
