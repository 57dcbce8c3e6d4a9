"""What a fitted mixture says of rows: in memory, lazily, or streamed to storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dask_em import kernel
from dask_em.driver.examination import no_weight, require_sound
from dask_em.errors import InputError, did_you_mean
from dask_em.estimators.fitted import Fitted
from dask_em.estimators.reading import HERE, is_lazy, reading, source_of, table
from dask_em.execution import is_collection, lazy_rows
from dask_em.rows import Rows, Schema
from dask_em.statistics import Manifest
from dask_em.storage import ArraySink, Source, open_sink

__all__ = ["QUESTIONS", "answer", "draw", "opened", "total", "write_answer"]

Array = np.ndarray[Any, Any]
CHUNK_ROWS = 65_536  # of a Zarr array of predictions; blocks are cut on it


@dataclass(frozen=True)
class Question:
    """A prediction: its kernel, its type, and whether it has a column for each component."""

    kernel: Callable[..., Any]
    dtype: str
    wide: bool = False


QUESTIONS = {
    "labels": Question(kernel.labels, "int64"),
    "responsibilities": Question(kernel.responsibilities, "float64", wide=True),
    "log_density": Question(kernel.log_density, "float64"),
}


def _question(what: str) -> Question:
    if str(what) not in QUESTIONS:
        raise InputError(f"{what!r} is nothing that a mixture predicts.{did_you_mean(str(what), QUESTIONS)}")
    return QUESTIONS[str(what)]


def opened(fitted: Fitted, data: Any, sample_weight: Any = None) -> Source:
    """Return the source of rows for a model; InputError where they do not have its columns."""
    source = source_of(table(data), fitted.names, sample_weight)
    expected, found = fitted.params.components.means.shape[1], source.schema.features
    if found != expected:
        raise InputError(
            f"X has {found} features, but GaussianMixture is expecting {expected} features as input; "
            f"give {source.name} the columns that the model was fitted to"
        )
    return source


def answer(fitted: Fitted, data: Any, what: str) -> Any:
    """Return labels (n,), responsibilities (n, k) or log-densities (n,), nats: NumPy for data in memory, else lazy."""
    question, source = _question(what), opened(fitted, data)
    width = len(fitted.params.weights) if question.wide else None
    ask = partial(question.kernel, fitted.prepare(), fitted.size.tile_rows)
    if is_lazy(data):
        lazy = data if is_collection(data) else source
        names = fitted.names if hasattr(data, "columns") else None
        checked = partial(_checked, source.schema, f"a chunk of {source.name}", ask)  # rows are counted within it
        return lazy_rows(lazy, checked, width, question.dtype, columns=names)
    with reading(source, fitted.size, HERE, once=True) as reducer:  # the answer is wanted in this process
        sink = ArraySink(reducer.layout.rows, width, np.dtype(question.dtype))
        reducer.write(partial(_checked, source.schema, source.name, ask), sink)
        return sink.result


def write_answer(
    fitted: Fitted,
    data: Any,
    destination: str,
    what: str = "labels",
    client: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Manifest:
    """Stream predictions to a Zarr array (``.zarr``) or a Parquet folder (``.parquet``), committed last."""
    question, source = _question(what), opened(fitted, data)
    k = len(fitted.params.weights)
    names = tuple(f"responsibility_{i}" for i in range(k)) if question.wide else (what.removesuffix("s"),)
    ask = partial(question.kernel, fitted.prepare(), fitted.size.tile_rows)
    with reading(source, fitted.size, client, align=CHUNK_ROWS, once=True) as reducer:
        width = k if question.wide else None
        dtype = np.dtype(question.dtype)
        sink = open_sink(destination, reducer.layout.rows, width, names, dtype, CHUNK_ROWS, storage_options)
        return reducer.write(partial(_checked, source.schema, source.name, ask), sink)


def total(fitted: Fitted, data: Any, sample_weight: Any = None, client: Any = None) -> tuple[float, float]:
    """Return the log-likelihood of all rows in nats, and their total weight."""
    source = opened(fitted, data, sample_weight)
    with reading(source, fitted.size, client, once=True) as reducer:
        score = reducer.total(partial(kernel.score, fitted.prepare(), fitted.size.tile_rows))
        require_sound(score.fault, reducer.layout)
    if not score.weight > 0:
        raise no_weight(source.name)
    return score.log_likelihood, score.weight


def draw(fitted: Fitted, rows: Any, random: np.random.RandomState) -> tuple[Array, Array]:
    """Draw rows (n, d) from a mixture, and the component of each (n,), in order of component."""
    if not isinstance(rows, int | np.integer) or rows < 1:
        raise InputError(f"n_samples is {rows!r}; ask for at least one row, in a whole number")
    weights, components = fitted.params.weights, fitted.params.components
    means = fitted.frame.leave(components.means)
    counts = random.multinomial(rows, weights / weights.sum())
    dense = fitted.model.components.covariance.dense(components.covariances, *means.shape)
    drawn = [
        mean + random.standard_normal((count, len(mean))) @ np.linalg.cholesky(covariance).T
        for mean, covariance, count in zip(means, dense, counts, strict=True)
    ]
    return np.concatenate(drawn), np.repeat(np.arange(len(counts)), counts)


def _checked(schema: Schema, name: str, ask: Callable[[Rows], Any], rows: Rows) -> Any:
    """Refuse values that no model can judge, naming the first."""
    kernel.refuse_faults(schema, name, rows)
    return ask(rows)
