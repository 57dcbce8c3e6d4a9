from __future__ import annotations

from functools import partial
from typing import Any

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client

from dask_em.execution import lazy
from dask_em.execution.collections import collection_source
from dask_em.execution.lazy import lazy_rows
from dask_em.rows import Rows
from tests.execution.cases import Memory, doubled, two_columns, values_of

Array = np.ndarray[Any, Any]
VALUES = values_of(0, 300)


def plus(parameters: Array, rows: Rows) -> Array:
    return rows.values[:, 0] + parameters.sum()


@pytest.fixture(autouse=True)
def _in_threads() -> Any:
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.parametrize("chunks", [(100, -1), (100, (2, 1)), ((1, 250, 0, 49), 3)])
def test_arrays_keep_their_chunks(chunks: Any) -> None:
    x = da.from_array(VALUES, chunks=chunks)
    one, two = lazy_rows(x, doubled, None, "f8"), lazy_rows(x, two_columns, 2, "f8")
    assert one.chunks == (x.chunks[0],)
    assert two.chunks == (x.chunks[0], (2,))
    np.testing.assert_array_equal(one.compute(), 2 * VALUES[:, 0])
    np.testing.assert_array_equal(two.compute(), VALUES[:, :1] * [2, 3])
    np.testing.assert_array_equal(one[120:].compute(), 2 * VALUES[120:, 0])


def test_unknown_chunks_stay_unknown() -> None:
    x = da.from_array(VALUES, chunks=100)
    some = x[x[:, 0] > 0]
    got = lazy_rows(some, two_columns, 2, "f8")
    assert np.isnan(got.chunks[0]).all()
    np.testing.assert_array_equal(got.compute(), VALUES[VALUES[:, 0] > 0][:, :1] * [2, 3])


def test_cubes_give_their_rows_in_c_order() -> None:
    cube = VALUES[:240].reshape(8, 3, 5, 6)
    got = lazy_rows(da.from_array(cube, chunks=(2, 2, 2, 3)), doubled, None, "f8", feature_axis=1)
    np.testing.assert_array_equal(got.compute(), 2 * cube[:, 0].ravel())


def test_frames_keep_partitions_divisions_and_index() -> None:
    table = pd.DataFrame(VALUES, columns=["a", "b", "c"], index=pd.date_range("2020", periods=300)).assign(word="x")
    frame = dd.from_pandas(table, npartitions=4)
    one = lazy_rows(frame, doubled, None, "f8", columns=["b", "a"])
    two = lazy_rows(frame, two_columns, 2, "f8", columns=["b", "a"])
    assert one.divisions == two.divisions == frame.divisions
    pd.testing.assert_series_equal(one.compute(), pd.Series(2 * VALUES[:, 1], table.index), check_freq=False)
    expected = pd.DataFrame(VALUES[:, 1:2] * [2, 3], table.index)
    pd.testing.assert_frame_equal(two.compute(), expected, check_freq=False, check_column_type=False)
    assert frame.assign(label=one)["label"].compute().tolist() == (2 * VALUES[:, 1]).tolist()


def test_sources_give_a_chunk_for_each_atom() -> None:
    got = lazy_rows(Memory(VALUES, 70), two_columns, 2, "f8")
    assert got.chunks == ((70, 70, 70, 70, 20), (2,))
    np.testing.assert_array_equal(got.compute(), VALUES[:, :1] * [2, 3])
    np.testing.assert_array_equal(lazy_rows(Memory(VALUES), doubled, None, "f8").compute(), 2 * VALUES[:, 0])


@pytest.mark.parametrize("largest", [lazy.TRAVELS, 100])
def test_parameters_of_any_size_arrive(
    largest: int, client: Client, default_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy, "TRAVELS", largest)
    kernel = partial(plus, np.ones(40_000))
    x = da.from_array(VALUES, chunks=50)
    frame = dd.from_pandas(pd.DataFrame(VALUES, columns=["a", "b", "c"]), npartitions=6)
    persisted = collection_source(x.persist(scheduler=client))
    expected = VALUES[:, 0] + 40_000
    with dask.config.set(scheduler=client):
        for data in (x, frame, Memory(VALUES), persisted, x.persist()):
            np.testing.assert_array_equal(np.asarray(lazy_rows(data, kernel, None, "f8").compute()), expected)


def test_frames_whose_labels_are_no_strings() -> None:
    frame = dd.from_pandas(pd.DataFrame(VALUES), npartitions=3)
    np.testing.assert_array_equal(lazy_rows(frame, doubled, None, "f8").compute(), 2 * VALUES[:, 0])
