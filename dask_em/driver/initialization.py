"""Where to start: pass 0 and the starts made from its sample."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from dask_em.driver.reseeding import Standard
from dask_em.errors import DataError, InputError, did_you_mean
from dask_em.kernel import Holdout, Metric, Survey, apart, survey
from dask_em.mixture import Mixture, MixtureParameters
from dask_em.reduction import Reducer
from dask_em.rows import Rows
from dask_em.statistics import Sample
from dask_em.storage.blocks import Layout, Reader

__all__ = ["STARTS", "examine", "labelled", "measured", "require_rows", "sample_size", "starts"]

Array = np.ndarray[Any, Any]
PEEK = 4096  # rows whose mean is the reference of pass 0
SAMPLE_ROWS, SAMPLE_BYTES = 20_000, 64 * 2**20
ROWS_PER_PARAMETER = 10
LARGEST = 1e140  # of a value: sums of squares stay finite


def sample_size(features: int, parameters: int) -> int:
    """Return how many rows the starts are made on: a pure function of the model's size."""
    wanted = max(SAMPLE_ROWS, ROWS_PER_PARAMETER * parameters)
    return max(min(wanted, SAMPLE_BYTES // (8 * features)), 1000)


def examine(reducer: Reducer, size: int, seed: int, holdout: Holdout | None = None) -> Survey:
    """Read the data once: count, mean, extremes, a sample of ``size`` rows; rows that are held out weigh nothing.

    Raises
    ------
    DataError
        A value is NaN, infinite or too large to be squared, or a weight is negative or not finite: its place is named.
    InputError
        All weights are zero.
    """
    layout = reducer.layout
    first = np.asarray(_first_rows(layout).values, np.float64)
    reference = np.where(np.isfinite(first), first, 0.0).mean(axis=0)
    kernel = partial(survey, reference, size, layout.rows, seed, layout.tile_rows)
    result = reducer.total(kernel if holdout is None else partial(apart, kernel, holdout))
    if result.fault.row >= 0:
        raise DataError(_fault_sentence(result, layout))
    widest = int(np.argmax(np.maximum(-result.extremes.low, result.extremes.high)))
    low, high = result.extremes.low[widest], result.extremes.high[widest]
    if max(-low, high) > LARGEST:
        raise DataError(
            f"{layout.source.schema.column(widest)} of {layout.source.name} reaches from {low:.3g} to {high:.3g}, "
            "whose squares overflow: rescale it"
        )
    if not result.weight > 0:
        raise InputError(f"all weights of {layout.source.name} are zero; give at least one row a positive weight")
    return result


def _fault_sentence(result: Survey, layout: Layout) -> str:
    fault = result.fault
    block = next(b for b in reversed(layout.blocks) if b.first <= fault.row)
    at = block.first
    for piece in block.pieces:
        if fault.row < at + piece.stop - piece.start:
            break
        at += piece.stop - piece.start
    what = layout.source.schema.column(fault.column) if fault.column >= 0 else "the weights"
    place = f"row {fault.row} (block {block.index}, row {fault.row - at + piece.start} of {piece.atom.place})"
    remedy = (
        "remove or impute such rows before the fit"
        if fault.column >= 0
        else "give weights that are finite and not negative"
    )
    return f"{fault.kind} in {what} at {place}; {fault.count} of {result.rows} rows are affected: {remedy}"


def _first_rows(layout: Layout) -> Rows:
    block = layout.blocks[0]
    piece = dataclasses.replace(block.pieces[0], stop=min(block.pieces[0].stop, block.pieces[0].start + PEEK))
    with closing(Reader(layout.source, PEEK).slabs(dataclasses.replace(block, pieces=(piece,)))) as slabs:
        return next(slabs)


def require_rows(result: Survey, components: int) -> None:
    """Refuse more components than rows (of positive weight), and a single row, in scikit-learn's words."""
    rows = len(result.sample.values)  # all of them, where they are so few
    if rows < 2:
        shape = (rows, len(result.reference))
        raise InputError(
            f"Found array with {rows} sample(s) (shape={shape}) while a minimum of 2 is required; give more rows"
        )
    if rows < components:
        raise InputError(
            f"Expected n_samples >= n_components but got n_components = {components}, n_samples = {rows}; "
            "ask for fewer components or give more rows"
        )


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
    model: Mixture[Any], rows: Rows, metric: Metric, components: int, kind: str, seeds: Sequence[np.random.RandomState]
) -> list[MixtureParameters]:
    """Return one start a seed, made on a sample of rows in the frame.

    Raises
    ------
    InputError
        The kind is unknown.
    """
    if kind not in STARTS:
        raise InputError(f"the start {kind!r} is unknown.{did_you_mean(kind, STARTS)}")
    standard = Rows.of(rows.values @ metric.axes, rows.weight)
    return [model.start(rows, STARTS[kind](standard, components, seed)) for seed in seeds]


def labelled(model: Mixture[Any], rows: Rows, components: int, labels: Array) -> MixtureParameters:
    """Return the start that labels (n,) of a sample of rows in the frame call for; those below 0 have no part in it."""
    known = labels >= 0
    return model.start(Rows.of(rows.values[known], rows.weight[known]), _indicator(labels[known], components))


def _kmeans(rows: Rows, components: int, random: np.random.RandomState) -> Array:
    means = KMeans(n_clusters=components, n_init=1, random_state=random)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters: the fit tells of it
        return _indicator(means.fit(rows.values, sample_weight=rows.weight).labels_, components)


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
