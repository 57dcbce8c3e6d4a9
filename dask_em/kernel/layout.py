"""How the compiled kernel wants parameters: padded, interleaved, flat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dask_em.families.covariances import Full, Tied
from dask_em.families.factored import FactoredForm
from dask_em.families.variances import Diagonal
from dask_em.mixture import PreparedMixture

__all__ = [
    "BYTES",
    "CHUNK",
    "DIAGONAL",
    "DIAGONAL_EXPANDED",
    "EXPANDED",
    "GROUP",
    "LANES",
    "SCREENED",
    "SHARED",
    "SHARED_EXPANDED",
    "SHARING",
    "STRETCH",
    "TRIANGLES",
    "TRIANGULAR",
    "TRIANGULAR_EXPANDED",
    "UNIT",
    "UNIT_EXPANDED",
    "VECTORS",
    "WIDE",
    "Model",
    "Packed",
    "pack",
]

Array = np.ndarray[Any, Any]
BYTES, LANES = 64, 8  # of a vector; float64 in it
VECTORS, GROUP = 6, 4  # of rows in a block, whatever the CPU's registers; coordinates or components at a time
STRETCH = 96  # rows: a block in float32, two in float64
WIDE = BYTES // 4  # columns of float32 at a time
FEATURES = 6  # products of two columns, and columns, at a time
PLACES = 4 / 3  # for a component, at most: four have a place each time
SCREENED = 20  # columns from which float32 may tell first which components a row is near
CHUNK = 128  # rows of one component that are multiplied together: they stay in the L1 and L2 caches
UNBOUNDED = 1e150  # of an error
INEXACT = 1e-14  # of a share: what float32 may make of it, which is what float64 makes of one near 1
FAINT = 1e-10  # and above this no share is left to float32, whatever the bound
TRIANGULAR, DIAGONAL, UNIT, SHARED = range(4)  # U: a triangle for each component, a row, a number; one triangle for all
DIAGONAL_EXPANDED, UNIT_EXPANDED, SHARED_EXPANDED = range(4, 7)  # −½ s (x − μ)² = −½ s μ² + s μ x − ½ s x²
TRIANGULAR_EXPANDED = 7  # c + a · φ(x), φ(x) = [x, vech(x xᵀ)]
TRIANGLES = (TRIANGULAR, TRIANGULAR_EXPANDED)
SQUARED = (DIAGONAL_EXPANDED, UNIT_EXPANDED, SHARED_EXPANDED)
EXPANDED = (*SQUARED, TRIANGULAR_EXPANDED)
SHARING = (SHARED, SHARED_EXPANDED)  # one scatter is summed for all components; the first serves float32
ABOUT_ORIGIN = (SHARED, *EXPANDED)  # the frame's: no mean is taken from rows in sums


class Coarse(NamedTuple):
    """A model in float32, and what that errs by; empty where float32 is not asked."""

    means: Array  # (k, padded)
    triangles: Array
    reach: Array  # (k,), what z errs by for each unit of |x| + |μ|
    norms: Array  # (k,), |μ|
    wrong: Array  # (k,), what a share may err by


class Model(NamedTuple):
    """What densities are computed from. numba takes a named tuple as it takes a tuple."""

    constant: Array  # (k to a multiple of GROUP,)
    shift: Array  # means, or slopes of what is expanded, which all features have
    scale: Array  # 1 / σ², or bends of what is expanded
    triangle: Array  # U of each component, or the one that they share
    coarse: Coarse


@dataclass(frozen=True)
class Packed:
    """A mixture of Gaussians as the compiled kernel reads it."""

    form: FactoredForm
    kind: int
    shape: tuple[int, int, int, int]  # k; d; d to a multiple of GROUP; d to a multiple of the lanes
    model: Model
    centre: Array  # of the frame, padded
    means: Array  # (k to a multiple of GROUP, and one; width): of the M-step, and zeros
    dtype: np.dtype[Any]  # computed in

    @property
    def is_screened(self) -> bool:
        """Whether float32 is asked first."""
        return len(self.model.coarse.means) > 0

    @property
    def features(self) -> int:
        """How many features a row has that are multiplied by parameters and responsibilities, padded; or none."""
        d = self.shape[1]
        return -(-(d * (d + 3) // 2) // FEATURES) * FEATURES if self.kind == TRIANGULAR_EXPANDED else 0

    @property
    def is_narrow(self) -> bool:
        """Whether a tile's columns, which are few, are kept for the sums."""
        return self.shape[1] <= LANES


def pack(model: PreparedMixture, dtype: npt.DTypeLike = np.float64) -> Packed:
    """Lay a prepared mixture out."""
    form: FactoredForm = model.prepared
    dtype = np.dtype(dtype)
    kind = _kind(form, dtype)
    (k, d), lanes = form.means.shape, BYTES // dtype.itemsize
    groups, padded, width = (-(-n // to) * to for n, to in ((k, GROUP), (d, GROUP), (d, lanes)))
    constant = np.full(groups, -np.inf)
    constant[:k] = form.constant + model.log_weights
    factor, triangle, scale = form.factor, np.zeros((1, 0)), np.zeros(0)
    if kind == TRIANGULAR:
        shift = _padded(form.means, (k, padded))
        triangle = _triangles(_padded(np.broadcast_to(factor, (k, d, d)), (k, padded, padded)))
    elif kind in SHARING:
        triangle = _triangles(_padded(factor, (padded, padded))[None])
        shift, scale = form.means @ factor, np.ones(groups)
    elif kind == TRIANGULAR_EXPANDED:
        constant[:k], shift = form.product.natural[:, 0] + model.log_weights, form.product.natural[:, 1:]
    else:
        shift, scale = form.means, _padded(factor**2, (groups, d) if factor.ndim == 2 else (groups,))
    if kind in SQUARED:
        each = scale[:k].reshape(k, -1)
        constant[:k] -= 0.5 * (each * shift**2).sum(axis=1)
        shift = each * shift
        scale = -0.5 * scale
    if kind != TRIANGULAR:
        shift = _interleaved(_padded(shift, (groups, shift.shape[1])))
        scale = _interleaved(scale) if scale.ndim == 2 else scale
    ahead = np.zeros(padded * GROUP)  # the last triangle is followed by room to be asked for early
    flat = (shift, scale, np.concatenate([triangle.ravel(), ahead]))
    shifts, scales, triangles = (np.ascontiguousarray(array, dtype).ravel() for array in flat)
    screened = kind == TRIANGULAR and dtype == np.float64 and d >= SCREENED
    unasked = Coarse(*np.zeros((2, 0), np.float32), *np.zeros((3, 0)))
    coarse = _coarse(model, shifts, triangles) if screened else unasked
    centre, of_rows = _padded(form.frame.centre, (width + 2 * LANES,)), np.zeros((groups + 1, width))
    if kind not in ABOUT_ORIGIN:
        of_rows[:k, :d] = form.means
    packed = Model(constant, shifts, scales, triangles, coarse)
    return Packed(form, kind, (k, d, padded, width), packed, centre, of_rows.astype(dtype).ravel(), dtype)


def _kind(form: FactoredForm, dtype: np.dtype[Any]) -> int:
    """Return what to do: squares are expanded where that costs no digits, which float32 has not to spare."""
    expanded = form.accurate and dtype == np.float64
    if isinstance(form.covariance, Full) and expanded and _featured(*form.means.shape):
        return TRIANGULAR_EXPANDED
    if isinstance(form.covariance, Full) or (isinstance(form.covariance, Tied) and not form.accurate):
        return TRIANGULAR
    if isinstance(form.covariance, Tied):
        return SHARED_EXPANDED if expanded else SHARED
    if isinstance(form.covariance, Diagonal):
        return DIAGONAL_EXPANDED if expanded else DIAGONAL
    return UNIT_EXPANDED if expanded else UNIT


def _featured(k: int, d: int) -> bool:
    """Say whether all products of two columns are built, for components that are taken four at a time."""
    return LANES < d < SCREENED and -(-k // GROUP) * GROUP <= PLACES * k


def _coarse(model: PreparedMixture, shift: Array, triangles: Array) -> Coarse:
    """Return means and triangles in float32; for each component a bound of z's error, |μ|, and what a share may err by.

    |z_i − fl(z_i)| ≤ (i + 4) ε |u_i| (|x| + |μ|), ε = 2⁻²⁴, for the sum of i terms that z_i is (Higham 2002, §3.1), and
    for rounded x, μ and U: the bound is what this gives without |x| + |μ|. It is as large as can be where float32 has
    no room. Shares of a component that has less than its part of the rows may err by less.
    """
    form: FactoredForm = model.prepared
    k, d = form.means.shape
    columns = np.linalg.norm(np.broadcast_to(form.factor, (k, d, d)), axis=1)
    with np.errstate(over="ignore"):
        single = shift.astype(np.float32), triangles.astype(np.float32)
    reach = 2.0**-24 * np.linalg.norm(columns * np.arange(5, d + 5), axis=1)
    if not all(np.isfinite(array).all() for array in single):
        reach[:] = UNBOUNDED
    wrong = INEXACT * np.minimum(1.0, k * np.exp(model.log_weights))
    return Coarse(*single, reach, np.linalg.norm(form.means, axis=1), wrong)


def _padded(array: Array, shape: tuple[int, ...]) -> Array:
    out = np.zeros(shape)
    out[tuple(slice(n) for n in array.shape)] = array
    return out


def _triangles(factors: Array) -> Array:
    """Return, for each factor (n, n), 4 rows of its first 4 columns, 8 rows of the next 4, and so on."""
    k, n, _ = factors.shape
    parts = [factors[:, : at + GROUP, at : at + GROUP].reshape(k, -1) for at in range(0, n, GROUP)]
    return np.concatenate(parts, axis=1)


def _interleaved(rows: Array) -> Array:
    """Return rows (groups of 4, d) as (groups, d, 4)."""
    return rows.reshape(-1, GROUP, rows.shape[1]).transpose(0, 2, 1)
