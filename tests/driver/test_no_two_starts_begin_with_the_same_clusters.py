"""k-means finds the same few clusters from most seeds: fits from there would all end in the same optimum."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from dask_em import GaussianMixture
from dask_em.driver.initialization import STARTS, _are_alike, measured, starts
from dask_em.families import Full, Gaussian
from dask_em.kernel import Metric
from dask_em.mixture import Free, Mixture
from dask_em.rows import Frame, Rows
from dask_em.statistics import Sample

Array = np.ndarray[Any, Any]
MODEL, K, STARTED = Mixture(Gaussian(Full()), Free()), 2, 6


def stripes(n: int, gap: float = 8.0) -> Array:
    """Return rows of two clusters in the first column, of one in all others."""
    random = np.random.default_rng(0)
    x = random.standard_normal((n, 4))
    x[:, 0] += gap * random.integers(2, size=n)
    return x


def begun(x: Array, weight: Array, kind: str = "kmeans") -> list[tuple[str, Any]]:
    index = np.arange(len(x))
    sample = Sample(len(x), index.astype(np.uint64), index, x, weight)
    whole = measured(MODEL, sample)
    metric = Metric(whole.frame, np.eye(x.shape[1]))
    rows = Rows.of(metric.frame.enter(x), weight)
    return starts(MODEL, rows, K, kind, [(metric, np.random.RandomState(seed)) for seed in range(STARTED)])


def test_where_plain_k_means_would() -> None:
    x = stripes(2_000)
    plain = {tuple(np.sort(STARTS["kmeans"](Rows.of(x), K, np.random.RandomState(i)).sum(axis=1))) for i in range(9)}
    assert len(plain) == 1, "the case is none"
    found = begun(x, np.ones(len(x)))
    assert found[0][0] == "kmeans"
    told = [kind for kind, _ in found[1:]]
    assert set(told) <= {"kmeans", "kmeans, stretched"}
    assert "kmeans, stretched" in told
    means = np.array([params.components.means[params.components.means[:, 0].argsort()] for _, params in found])
    apart = np.abs(means - means[0]).max(axis=(1, 2))
    again = np.array([kind != "kmeans" for kind, _ in found])
    assert (apart[again] > 0.5).all(), "elsewhere"
    assert (apart[~again] < 0.5).all(), "or as they were, where that led nowhere else"


def test_and_chance_alone_is_left_as_it_is() -> None:
    x = stripes(2_000)
    assert {kind for kind, _ in begun(x, np.ones(len(x)), "random")} == {"random"}


@pytest.mark.parametrize(("columns", "k"), [(1, 2), (4, 1)])
def test_nor_are_they_called_anew_where_there_is_nowhere_else(columns: int, k: int) -> None:
    x = stripes(500)[:, :columns]
    metric = Metric(Frame(x.mean(axis=0)), np.eye(columns))
    draws = [(metric, np.random.RandomState(seed)) for seed in range(3)]
    assert {kind for kind, _ in starts(MODEL, Rows.of(x), k, "kmeans", draws)} == {"kmeans"}


def test_and_a_cluster_that_is_split_is_another_however_many_there_are() -> None:
    labels = np.repeat(np.arange(100), 10)
    others = labels.copy()
    others[labels == 1] = 0
    others[np.flatnonzero(labels == 2)[:5]] = 1
    weight = np.ones(len(labels))
    assert _are_alike(labels, 99 - labels, weight)
    assert not _are_alike(labels, others, weight)


def test_however_weights_are_scaled() -> None:
    x = stripes(500)
    weight = np.where(np.arange(len(x)) % 2, 2.0, 1.0)
    for (kind, one), (other_kind, other) in zip(begun(x, weight), begun(x, 4 * weight), strict=True):
        assert kind == other_kind
        np.testing.assert_allclose(one.components.means, other.components.means, atol=1e-9)


def test_and_each_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dask_em")
    GaussianMixture(K, n_init=STARTED, random_state=0).fit(stripes(2_000))
    told = [record.kind for record in caplog.records if getattr(record, "event", "") == "start"]
    assert len(told) == STARTED
    assert "kmeans, stretched" in told
