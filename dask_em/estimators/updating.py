"""New rows for a fitted mixture, without a look at the rows before: partial_fit."""

from __future__ import annotations

import dataclasses
import time
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np

from dask_em.driver.updating import judged, update
from dask_em.errors import InputError
from dask_em.estimators.answers import opened
from dask_em.estimators.fitted import Fitted
from dask_em.estimators.orders import Order, Start
from dask_em.estimators.reading import reading
from dask_em.execution import environment
from dask_em.families.gaussian import extents
from dask_em.mixture import MixtureParameters, MixtureStatistics
from dask_em.rows import Frame
from dask_em.statistics import Extremes

__all__ = ["Updating"]


class Updating(ABC):
    """An estimator whose fit leaves a mixture in ``_fitted``, which new rows can be added to."""

    _fitted: Fitted

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Add new rows to the model; one that is not fitted yet is fitted to them.

        The model keeps the sums that it was made of. The new rows are read once, where ``fit`` would read them, and
        judged by the model as it is; their sums are added, and one M-step is taken of all: a step of incremental EM
        (Neal and Hinton 1998) with the new rows as its block.

        What is exact: every row is counted once, old and new, so that the mixture's mean, and its covariance as far as
        ``covariance_type`` can hold it (and beside ``reg_covar``), are those of all rows; a model of one component is
        that of a fit to all rows. Where the sums that are kept are those of the model itself, as at a fit's limit,
        the update is EM's step over all rows; ``tol`` says how far from it a fit has ended.

        What it is not: a fit to all rows. Each row keeps the responsibilities that it was given when it was read, so
        the model lags behind where new rows are many, unlike the old ones or need another component, and the order of
        calls matters. Nothing is forgotten. For the optimum, fit all rows with ``warm_start=True``, which takes few
        passes from here.

        Parameters
        ----------
        X : array, frame, collection, path, URL or Source
            New rows of the columns that the model was fitted to.
        sample_weight : array-like (n,) or the name of a column, optional

        Raises
        ------
        DataError, InputError
            The rows cannot be used, the number of components or the type of covariance is another than the model's,
            or the model has no sums, such as one from scikit-learn. The model stays as it was.
        """
        if not hasattr(self, "_fitted"):
            return self.fit(X, y, sample_weight)
        return self.published(updated(self._fitted, self.order(), X, sample_weight))

    @abstractmethod
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the mixture."""

    @abstractmethod
    def order(self, previous: Fitted | None = None) -> Order:
        """Return what is asked for, checked."""

    @abstractmethod
    def published(self, fitted: Fitted) -> Self:
        """Take on a fitted mixture's parameters and attributes."""


def updated(fitted: Fitted, order: Order, data: Any, sample_weight: Any) -> Fitted:
    """Return the mixture with new rows added, by today's settings."""
    (start,) = order.starts
    before, model = _sums(fitted, start), start.model
    source = opened(fitted, data, sample_weight)
    strict = start.settings["reproducible"] == "strict"
    with reading(source, fitted.size, once=True, strict=strict) as reducer:
        began = time.perf_counter()
        found = judged(reducer, model.prepare(fitted.params, fitted.frame))
        params = _spanning(fitted.params, fitted.frame, found.extremes)
        number, usual = len(fitted.history) + 1, before.weight / before.rows
        lightest = min(float(found.weights.low[0]), usual)  # the old rows' lightest is not known any more
        result = update(model, params, before, found.statistics, number, lightest)
        seconds, nbytes, events = time.perf_counter() - began, reducer.layout.nbytes, reducer.news()
    entry = dataclasses.replace(result.entry, seconds=seconds, bytes_read=nbytes, events=events)
    return dataclasses.replace(
        fitted,
        model=model,
        params=result.params,
        rows=result.statistics.weight,
        history=(*fitted.history, entry),
        outcome=result.outcome,
        environment=environment(),
        statistics=result.statistics,
    )


def _sums(fitted: Fitted, start: Start) -> MixtureStatistics:
    """Return the sums to add to; refuse a model that has none, or that is no longer asked for."""
    had = len(fitted.params.weights), fitted.model.components.covariance.name
    wanted = start.settings["n_components"], start.covariance.name
    if had != wanted:
        raise InputError(
            f"the model has n_components={had[0]} and covariance_type={had[1]!r}, and now {wanted[0]} and "
            f"{wanted[1]!r} are asked for: partial_fit cannot change them; set them back, or fit anew"
        )
    if fitted.statistics is None:
        raise InputError(
            "the model has no sums of rows for partial_fit to add to (it is scikit-learn's, an older version's, or a "
            "start that no pass was made from); fit it first, with warm_start=True to go on from its parameters"
        )
    return fitted.statistics


def _spanning(params: MixtureParameters, frame: Frame, new: Extremes) -> MixtureParameters:
    """Return the parameters with the extent of all rows noted; the old ones reach as far as the means at least."""
    components = params.components
    means = frame.leave(components.means)
    low, high = np.minimum(new.low, means.min(axis=0)), np.maximum(new.high, means.max(axis=0))
    extent = np.maximum(components.extent, extents(low, high))
    return dataclasses.replace(params, components=dataclasses.replace(components, extent=extent))
