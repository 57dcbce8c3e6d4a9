"""Where to start: what is made of the sample of pass 0."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from dask_em.driver.reseeding import Standard
from dask_em.errors import InputError, did_you_mean
from dask_em.kernel import Metric
from dask_em.mixture import Mixture, MixtureParameters
from dask_em.rows import Rows
from dask_em.statistics import Sample

__all__ = ["STARTS", "labelled", "measured", "starts"]

Array = np.ndarray[Any, Any]
ALIKE, TRIES = 0.98, 3  # of each cluster in one of another start makes them the same; how often one is drawn again then


def measured(model: Mixture[Any], sample: Sample) -> Metric:
    """Return how far apart rows are: in units of a sample's spread, as the family sees it.

    Gaussians see a covariance, so that a start moves with the data when it is moved, scaled or, with matrices, mixed.
    """
    # No scale is best for all data. What a fit of k = 8, 16 full components gains over one from columns of variance 1
    # (6,000 rows, 5 seeds, median nats per row): whitened, patches +5.3 -2.1, flights -0.05 -0.01, pixels and digits 0;
    # as they are, patches +4.8 +3.4, digits +0.07 +0.23, flights -0.02 +0.03, but digits in other units -0.6.
    frame = model.components.frame(np.average(sample.values, axis=0, weights=sample.weight))  # whatever the chunks
    rows, identity = Rows.of(frame.enter(sample.values), sample.weight), np.eye(sample.values.shape[1])
    if not isinstance(model.components, Standard):
        return Metric(frame, identity)
    whole = model.start(rows, np.ones((1, len(rows))))
    return Metric(frame, model.components.standardise(whole.components, whole.weights, identity))


def starts(
    model: Mixture[Any],
    rows: Rows,
    components: int,
    kind: str,
    draws: Sequence[tuple[Metric, np.random.RandomState]],
) -> list[tuple[str, MixtureParameters]]:
    """Return one start a draw, made on a sample of rows in the frame, and what to call its kind.

    Fits that begin with the same clusters end in the same optimum: where a draw finds those of an earlier one, as
    k-means does where they are few, it is drawn again with the metric's coordinates stretched by chance; if that leads
    nowhere else, it stays as it was. Such a start moves with data that are moved or scaled, not with columns that are
    mixed.

    Raises
    ------
    InputError
        The kind is unknown.
    """
    if kind not in STARTS:
        raise InputError(f"the start {kind!r} is unknown.{did_you_mean(kind, STARTS)}")
    found: list[tuple[str, MixtureParameters]] = []
    clusters: list[Array] = []
    for metric, seed in draws:
        standard, named = Rows.of(rows.values @ metric.axes, rows.weight), kind
        resp, labels = _drawn(kind, standard, components, seed)
        for _ in range(TRIES if _is_known(labels, clusters, rows.weight) else 0):
            stretched = standard.values * np.exp(seed.standard_normal(standard.values.shape[1]))
            other, others = _drawn(kind, Rows.of(stretched, rows.weight), components, seed)
            if not _is_known(others, clusters, rows.weight):
                named, resp, labels = f"{kind}, stretched", other, others
                break
        clusters.append(labels)
        found.append((named, model.start(rows, resp)))
    return found


def _drawn(kind: str, standard: Rows, components: int, seed: np.random.RandomState) -> tuple[Array, Array]:
    """Return responsibilities (k, n), and the component that has most of each row (n,)."""
    resp = STARTS[kind](standard, components, seed)
    return resp, resp.argmax(axis=0)


def _is_known(labels: Array, clusters: Sequence[Array], weight: Array) -> bool:
    """Say whether one of several clusterings has nearly the same clusters, in any order."""
    return any(_are_alike(labels, others, weight) for others in clusters)


def _are_alike(labels: Array, others: Array, weight: Array) -> bool:
    """Say whether each cluster of two clusterings has nearly all of its weight in one of the other's."""
    k = int(max(labels.max(), others.max())) + 1
    shared = np.bincount(labels * k + others, weight, k * k).reshape(k, k)
    return all(bool((shared.max(axis=axis) >= ALIKE * shared.sum(axis=axis)).all()) for axis in (0, 1))


def labelled(model: Mixture[Any], rows: Rows, components: int, labels: Array) -> MixtureParameters:
    """Return the start that labels (n,) of a sample of rows in the frame call for; those below 0 have no part in it."""
    known = labels >= 0
    return model.start(Rows.of(rows.values[known], rows.weight[known]), _indicator(labels[known], components))


def clusters(values: Array, weight: Array, number: int, random: np.random.RandomState | int) -> Array:
    """Return the cluster of each row (n,), by k-means begun once."""
    means = KMeans(number, n_init=1, random_state=random)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters: the fit tells of it
        return np.asarray(means.fit(values, sample_weight=weight).labels_)


def _kmeans(rows: Rows, components: int, random: np.random.RandomState) -> Array:
    return _indicator(clusters(rows.values, rows.weight, components, random), components)


def _plus_plus(rows: Rows, components: int, random: np.random.RandomState) -> Array:
    chosen = kmeans_plusplus(rows.values, components, sample_weight=rows.weight, random_state=random)[1]
    return _nearest(rows, chosen)


def _random(rows: Rows, components: int, random: np.random.RandomState) -> Array:
    resp = random.uniform(size=(len(rows), components)).T
    return np.asarray(resp / resp.sum(axis=0))


def _from_data(rows: Rows, components: int, random: np.random.RandomState) -> Array:
    return _nearest(rows, random.choice(len(rows), size=components, replace=False))


def _nearest(rows: Rows, chosen: Array) -> Array:
    """Give every row to the nearest of the chosen ones: what a first E-step with equal spheres would say."""
    x, centres = rows.values, rows.values[chosen]
    return _indicator(((centres**2).sum(axis=1) - 2 * x @ centres.T).argmin(axis=1), len(chosen))


def _indicator(labels: Array, components: int) -> Array:
    return np.asarray(labels == np.arange(components)[:, None], np.float64)


Start = Callable[[Rows, int, np.random.RandomState], Array]
STARTS: dict[str, Start] = {
    "kmeans": _kmeans,
    "k-means++": _plus_plus,
    "random": _random,
    "random_from_data": _from_data,
}
