"""Pass 0: one read that counts, refuses what cannot be used, and takes the sample that starts are made on."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import closing
from functools import partial

import numpy as np

from dask_em.errors import DataError, InputError
from dask_em.kernel import LARGEST, Holdout, Judged, Survey, apart, survey
from dask_em.reduction import Reducer
from dask_em.rows import Rows
from dask_em.statistics import Fault
from dask_em.storage.blocks import Layout, Reader

__all__ = [
    "examine",
    "no_weight",
    "refining_size",
    "require_room",
    "require_rows",
    "require_sound",
    "sample_size",
]

PEEK = 4096  # rows whose mean is the reference of pass 0
SAMPLE_ROWS, SAMPLE_BYTES = 20_000, 64 * 2**20
REFINING_ROWS, REFINING_BYTES = 100_000, 8 * 2**20
ROWS_PER_PARAMETER = 10
ENOUGH = 0.5  # of the sample that is wanted: less is worth another read
LISTED = 6  # columns that a message names
HEAVIEST = 1e300  # of all weights times the square of a value: sums of squares stay finite

logger = logging.getLogger("dask_em")


def sample_size(features: int, parameters: int) -> int:
    """Return how many rows the starts are made on: a pure function of the model's size."""
    wanted = max(SAMPLE_ROWS, ROWS_PER_PARAMETER * parameters)
    return max(min(wanted, SAMPLE_BYTES // (8 * features)), 1000)


def refining_size(features: int) -> int:
    """Return how many rows of many a fit of the sample goes on over: of narrow ones, more cost little."""
    return min(REFINING_ROWS, REFINING_BYTES // (8 * features))


def examine(reducer: Reducer, size: int, seed: int, holdout: Holdout | None = None) -> Survey:
    """Read the data once: count, mean, extremes, a sample of ``size`` rows; rows that are held out weigh nothing.

    Where so many rows have no weight that the sample comes out much too small, they are read once more.

    Raises
    ------
    DataError
        A value is NaN, infinite or too large to be squared, or a weight is negative or not finite: its place is named.
    InputError
        All weights are zero, or no row is left that is not held out.
    """
    layout = reducer.layout
    first = _first_rows(layout)
    values = np.asarray(first.values, np.float64)[first.weight > 0]
    reference = np.where(np.isfinite(values), values, 0.0).sum(axis=0) / max(len(values), 1)

    def read(total: int) -> Survey:
        kernel = partial(survey, reference, size, total, seed, layout.tile_rows)
        return reducer.total(kernel if holdout is None else partial(apart, kernel, holdout))

    result = read(layout.rows)
    require_sound(result.fault, layout)
    if holdout is not None and not result.weight > 0:
        raise InputError(
            f"holdout={holdout.share:g} leaves no row of {layout.source.name} that has a weight to be fitted; "
            "hold out a smaller share"
        )
    require_room(result, layout)
    _tell_constant(result, layout)
    return read(result.present) if len(result.sample.values) < min(ENOUGH * size, result.present) else result


def _tell_constant(result: Survey, layout: Layout) -> None:
    """Warn of columns without any spread: no component has a covariance there but what regularization adds."""
    constant = np.flatnonzero(result.extent.low == result.extent.high)
    if len(constant):
        which = ", ".join(layout.source.schema.column(column) for column in constant[:LISTED])
        more = f" and {len(constant) - LISTED} more" if len(constant) > LISTED else ""
        logger.warning(
            "constant in %s: %s%s; they tell no component from another, and are best left out",
            layout.source.name,
            which,
            more,
            extra={"event": "constant columns", "columns": constant.tolist()},
        )


def require_room(result: Survey | Judged, layout: Layout) -> None:
    """Refuse values and weights whose products have no room, and weights that are all zero."""
    name = layout.source.name
    widest = int(np.argmax(np.maximum(-result.extremes.low, result.extremes.high)))
    low, high = result.extremes.low[widest], result.extremes.high[widest]
    if max(-low, high) > LARGEST:
        raise DataError(
            f"{layout.source.schema.column(widest)} of {name} reaches from {low:.3g} to {high:.3g}, "
            "whose squares overflow: rescale it"
        )
    if not result.weight > 0:
        raise no_weight(name)
    if result.weight > HEAVIEST / max(-low, high, 1.0) ** 2:
        raise DataError(
            f"the weights of {name} add up to {result.weight:.3g}, whose products with squares of the values overflow: "
            "divide them all by a number, since their scale means nothing to the parameters"
        )


def no_weight(name: str) -> InputError:
    """Return the sentence for rows that are all absent."""
    return InputError(f"all weights of {name} are zero; give at least one row a positive weight")


def require_sound(fault: Fault, layout: Layout) -> None:
    """Refuse data with a value or weight that cannot be used, naming the place of the first."""
    if fault.row < 0:
        return
    block = next(b for b in reversed(layout.blocks) if b.first <= fault.row)
    at = block.first
    for piece in block.pieces:
        if fault.row < at + piece.stop - piece.start:
            break
        at += piece.stop - piece.start
    what = layout.source.schema.column(fault.column) if fault.column >= 0 else "the weights"
    place = f"row {fault.row} (block {block.index}, row {fault.row - at + piece.start} of {piece.atom.place})"
    remedy = (
        "remove or impute such rows first" if fault.column >= 0 else "give weights that are finite and not negative"
    )
    raise DataError(f"{fault.kind} in {what} at {place}; {fault.count} of {layout.rows} rows are affected: {remedy}")


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
