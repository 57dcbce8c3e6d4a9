"""Pass 0: what must be known of the rows before a model sees them, in one read."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_em._record import record, static
from dask_em.errors import DataError
from dask_em.kernel.reference import tiles
from dask_em.rows import Rows, Schema
from dask_em.statistics import Extremes, Fault, Sample, Statistics

__all__ = ["LARGEST", "Survey", "extremes", "fault", "hashed", "refuse_faults", "survey"]

Array = np.ndarray[Any, Any]
LARGEST = 1e140  # of a value: sums of squares stay finite
SURE = 6.0  # standard deviations of slack, so that the threshold lets too few rows through once in 1e9 surveys


@record
class Survey(Statistics):
    """Count, weight, moments about a reference, extremes, the first unusable value, and a uniform sample.

    A row of weight 0 is absent, but its values must be numbers whose squares are.
    """

    rows: int
    present: int  # rows that have a weight
    weight: float
    weights: Extremes  # (1,), of those that are not 0
    sums: Array  # (d,), Σ w (x − reference)
    extremes: Extremes
    extent: Extremes  # of the rows that have a weight
    fault: Fault
    sample: Sample
    reference: Array = static()  # (d,)

    @property
    def mean(self) -> Array:
        """The weighted mean, (d,)."""
        return np.asarray(self.reference + self.sums / self.weight)


def survey(reference: Array, size: int, total: int, seed: int, tile_rows: int, rows: Rows) -> Survey:
    """Survey a slab: moments about ``reference`` (d,), and its share of a sample of ``size`` of ``total`` rows.

    The sample is of the rows whose hashed number is smallest (a priority sample with equal priorities: Duffield, Lund
    and Thorup 2007), so it depends on the seed and on the rows' numbers alone.
    """
    parts = (_tile(reference, size, total, seed, tile) for tile in tiles(rows, tile_rows))
    result = next(parts)
    for part in parts:
        result = result + part
    return result


def _tile(reference: Array, size: int, total: int, seed: int, rows: Rows) -> Survey:
    values = np.asarray(rows.values, np.float64) - reference
    with np.errstate(invalid="ignore", over="ignore"):  # infinite values are reported as a fault
        weight, sums = float(rows.weight.sum()), rows.weight @ values
    here = rows.weight > 0
    reach, whole = extremes(rows.values), bool(here.all())
    return Survey(
        len(rows),
        int(here.sum()),
        weight,
        extremes(rows.weight[here, None]),
        sums,
        reach,
        reach if whole else extremes(rows.values[here]),
        fault(rows),
        _sample(size, total, seed, rows),
        reference,
    )


def extremes(values: Array) -> Extremes:
    """Return the smallest and largest value of each column, (d,); of no rows, infinity and its opposite."""
    if not len(values):
        nothing = np.full(values.shape[1], np.inf)
        return Extremes(nothing, -nothing)
    return Extremes(values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64))


def fault(rows: Rows) -> Fault:
    """Return the first value or weight of a slab that cannot be used."""
    bad_values = ~np.isfinite(rows.values)
    bad = bad_values.any(axis=1) | ~(np.isfinite(rows.weight) & (rows.weight >= 0))
    if not bad.any():
        return Fault(-1, -1, "", 0)
    row, count = int(np.argmax(bad)), int(bad.sum())
    if not bad_values[row].any():
        return Fault(rows.first + row, -1, f"the weight {rows.weight[row]}", count)
    column = int(np.argmax(bad_values[row]))
    kind = "NaN" if np.isnan(rows.values[row, column]) else "infinity"
    return Fault(rows.first + row, column, kind, count)


def refuse_faults(schema: Schema, name: str, rows: Rows) -> None:
    """Raise DataError where a value is NaN or infinite, naming the first place."""
    found = fault(rows)
    if found.row >= 0:
        what = schema.column(found.column) if found.column >= 0 else "the weights"
        raise DataError(f"{found.kind} in {what} of {name} at row {found.row}; remove or impute such rows first")


def _sample(size: int, total: int, seed: int, rows: Rows) -> Sample:
    share = min(1.0, (size + SURE * size**0.5 + SURE**2) / total)
    hashes = hashed(rows.index, seed)
    here = np.flatnonzero((hashes <= np.uint64(share * (2**64 - 2**11))) & (rows.weight > 0))
    values = rows.values[here]
    if values.dtype != np.float32:  # which stays as it is: one compiled kernel serves the sample and all rows
        values = np.asarray(values, np.float64)
    return Sample(size, hashes[here], rows.index[here], values, rows.weight[here]).ordered()


def hashed(index: Array, seed: int) -> Array:
    """Mix row numbers and the seed into 64 uniform bits (SplitMix64: Steele, Lea and Flood 2014)."""
    z = index.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) % 2**64)
    for _ in range(2):  # once would leave seeds that differ by little with shifted, not new, numbers
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return z
