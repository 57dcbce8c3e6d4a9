"""What a user may give as a start, checked with scikit-learn's sentences."""

from __future__ import annotations

import os
from operator import index
from typing import Any

import numpy as np

from dask_em.errors import InputError
from dask_em.families import Covariance
from dask_em.families.matching import places
from dask_em.kernel import LARGEST
from dask_em.mixture import TINY, MixtureParameters
from dask_em.rows import Frame

__all__ = [
    "Given",
    "arranged",
    "checked_labels",
    "checked_means",
    "checked_precisions",
    "checked_weights",
    "complete",
    "labels_of",
    "model_path",
    "numbers",
    "substitute",
    "whole_numbers",
]

Array = np.ndarray[Any, Any]
Given = tuple[Array | None, Array | None, Array | None]  # weights (k,), means (k, d), covariances; None, NaN: not given


def numbers(name: str, value: Any) -> Array:
    """Return real numbers as float64; InputError for anything else."""
    try:
        array = np.asarray(value)
        if array.dtype.kind in "fiubO":
            return np.asarray(array, np.float64)
    except (TypeError, ValueError):
        pass  # rows of unequal length, or objects that are no numbers
    raise InputError(f"{name} cannot be read as real numbers; give numbers, and rows of equal length") from None


def whole_numbers(name: str, value: Any, least: int) -> list[int]:
    """Return one or several whole numbers as a list; InputError for anything else."""
    try:
        listed = [index(each) for each in ([value] if np.ndim(value) == 0 else list(value))]
    except (TypeError, ValueError):
        listed = []
    if not listed or min(listed) < least:
        raise InputError(f"{name} is {value!r}; give whole numbers of at least {least}") from None
    return listed


def model_path(path: Any) -> str | os.PathLike[str]:
    """Return the path of a model file; InputError for what is no path."""
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"the model file is {path!r}; give its path")
    return path


def checked_weights(weights: Any, components: int, gaps: bool) -> Array:
    """Return weights (k,); InputError unless they are between 0 and 1 and sum to 1; with ``gaps`` some may be NaN."""
    weights = _shaped("weights", weights, (components,), gaps)
    if (weights < 0).any() or (weights > 1).any():
        raise InputError(
            "The parameter 'weights' should be in the range [0, 1], "
            f"but got max value {np.nanmax(weights):.5f}, min value {np.nanmin(weights):.5f}"
        )
    if np.isnan(weights).any():
        if np.nansum(weights) >= 1:
            raise InputError(
                f"The given weights sum to {np.nansum(weights):.5f}, which leaves nothing for those to be found (NaN); "
                "give weights that sum to less than 1"
            )
        return np.asarray(weights)
    if not np.isclose(weights.sum(), 1.0, atol=1e-6):
        raise InputError(f"The parameter 'weights' should be normalized, but got sum(weights) = {weights.sum():.5f}")
    return np.asarray(weights)


def checked_means(means: Any, components: int, features: int, gaps: bool) -> Array:
    """Return means (k, d); with ``gaps`` some may be NaN."""
    return _shaped("means", means, (components, features), gaps)


def checked_precisions(precisions: Any, covariance: Covariance, components: int, features: int, gaps: bool) -> Array:
    """Return the covariances of the given precisions, with ``gaps`` some may be NaN; InputError unless positive."""
    shape = covariance.shape(components, features)
    gaps = gaps and not covariance.is_shared
    precisions = _shaped(f"{covariance.name} precision", precisions, shape, gaps)
    covariances, told = np.full(shape, np.nan), ~np.isnan(precisions)
    known = told.reshape(components, -1)[:, 0] if gaps else slice(None)
    covariances[known] = _inverted(precisions[known], covariance)
    if not (np.abs(covariances[known]) < LARGEST).all():
        raise InputError(
            f"The parameter '{covariance.name} precision' is so small that its inverse overflows; rescale it"
        )
    return covariances


def _inverted(precisions: Array, covariance: Covariance) -> Array:
    if covariance.name in ("diag", "spherical"):
        if not (precisions > 0).all():
            raise InputError(f"'{covariance.name} precision' should be positive")
        with np.errstate(over="ignore"):  # the caller refuses what is infinite
            return np.asarray(1 / precisions)
    transposed = np.swapaxes(precisions, -1, -2)
    if not (np.allclose(precisions, transposed) and (np.linalg.eigvalsh(precisions) > 0).all()):
        raise InputError(f"'{covariance.name} precision' should be symmetric, positive-definite")
    inverse = np.linalg.inv(precisions)
    return np.asarray((inverse + np.swapaxes(inverse, -1, -2)) / 2)


def checked_labels(labels: Any, rows: int) -> Any:
    """Return labels, one for each of so many rows, as an array of any kind: nothing is read or computed yet."""
    whole = labels if hasattr(labels, "shape") and not hasattr(labels, "iloc") else np.asarray(labels)
    if tuple(whole.shape) != (rows,):
        raise InputError(
            f"labels_init should have the shape ({rows},), a label for each row, but has {tuple(whole.shape)}"
        )
    return whole


def labels_of(labels: Any, index: Array, components: int) -> Array:
    """Return the labels of the rows numbered ``index`` (m,), (m,), -1 for those that are not known.

    Raises
    ------
    InputError
        They are no whole numbers from -1 to k − 1, or a component has none among these rows.
    """
    told = f"labels_init should hold whole numbers from 0 to {components - 1}, or -1 where a label is not known"
    order, found = np.argsort(index), np.empty(len(index), np.int64)
    some = np.asarray(labels[index[order]])
    if some.dtype.kind not in "iuf":
        raise InputError(f"{told}; its values are of type {some.dtype}")
    wrong = np.flatnonzero(~((some >= -1) & (some < components) & (some == np.floor(some))))
    if len(wrong):
        raise InputError(f"{told}; row {index[order][wrong[0]]} has {some[wrong[0]]}")
    found[order] = some
    missing = np.flatnonzero(np.bincount(found[found >= 0], minlength=components) == 0)
    if len(missing):
        raise InputError(
            f"component {missing[0]} has no row in labels_init among the {len(index)} rows that the fit begins with (a "
            "sample, where there are more); label more rows of it, or give means_init instead"
        )
    return found


def complete(given: Given) -> bool:
    """Say whether nothing is left to be found."""
    return all(part is not None and not np.isnan(part).any() for part in given)


def arranged(params: MixtureParameters, frame: Frame, covariance: Covariance, given: Given) -> MixtureParameters:
    """Return the start with its components in such places that what was given replaces those nearest to it."""
    weights, means, covariances = given
    found, shape = params.components, params.components.covariances.shape
    told = type(found)(
        np.full(found.means.shape, np.nan) if means is None else frame.enter(means),
        np.full(shape, np.nan) if covariances is None else covariances,
    )
    of_weights = np.full(len(params.weights), np.nan) if weights is None else weights
    order = places(covariance, found, told, params.weights, of_weights)
    moved = found.covariances if covariance.is_shared else found.covariances[order]
    return MixtureParameters(params.weights[order], type(found)(found.means[order], moved))


def substitute(params: MixtureParameters, frame: Frame, given: Given) -> MixtureParameters:
    """Return the start with what was given in place of what was found."""
    weights, means, covariances = given
    components = params.components
    return MixtureParameters(
        params.weights if weights is None else np.maximum(_filled(weights, params.weights), TINY),
        type(components)(
            components.means if means is None else np.where(np.isnan(means), components.means, frame.enter(means)),
            components.covariances
            if covariances is None
            else np.where(np.isnan(covariances), components.covariances, covariances),
        ),
    )


def _filled(weights: Array, found: Array) -> Array:
    """Return the weights with what those given leave shared as those found."""
    missing = np.isnan(weights)
    share = (1 - np.nansum(weights)) / max(found[missing].sum(), TINY)
    return np.where(missing, share * found, weights)


def _shaped(name: str, value: Any, shape: tuple[int, ...], gaps: bool) -> Array:
    array = numbers(f"The parameter '{name}'", value).copy()
    if array.shape != shape:
        raise InputError(f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}")
    rows = array.reshape(shape[0], -1)
    left_out = np.isnan(rows).all(axis=1) & gaps
    if not np.isfinite(rows[~left_out]).all():
        remedy = ", or NaN in all of a component's that are to be found" if gaps else ""
        raise InputError(f"The parameter '{name}' holds NaN or infinity; give finite numbers{remedy}")
    if (np.abs(rows[~left_out]) > LARGEST).any():
        raise InputError(
            f"The parameter '{name}' holds {np.nanmax(np.abs(rows)):.3g}, whose square overflows; rescale it"
        )
    return np.asarray(array)
