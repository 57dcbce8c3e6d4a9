from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_em.errors import DataError, InputError
from dask_em.storage import open_source
from dask_em.storage.parquet import _lists

TABLE = pd.DataFrame({"a": np.arange(4.0), "t": ["x"] * 4, "when": pd.date_range("2020", periods=4), "w": 1.0})


@pytest.fixture(params=["frame", "parquet"])
def table(request: Any, tmp_path: Path) -> Any:
    TABLE.to_parquet(tmp_path / "x.parquet")
    return TABLE if request.param == "frame" else tmp_path / "x.parquet"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {},
            r"column 't' of .* is of type .*str.*, which is not numeric; .*choose them with data.columns",
        ),
        ({"columns": ["a", "t"]}, "column 't' of .* is of type .*, which is not numeric; leave it out or convert it"),
        ({"columns": ["when"]}, "column 'when' of .* is of type .*, which is not numeric"),
        ({"columns": ["a", "b"]}, "has no column 'b'"),
        ({"columns": ["a"], "weights": "ww"}, "has no column 'ww'"),
        ({"columns": ["a"], "weights": "t"}, "column 't' of .* is not numeric"),
        ({"columns": ["a", "a"]}, "column 'a' is asked for twice"),
        ({"columns": []}, "no columns"),
    ],
    ids=str,
)
def test_in_frames_and_parquet_alike(table: Any, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        open_source(table, **given)


def test_a_single_name_is_one_column(table: Any) -> None:
    assert open_source(table, columns="a").schema.names == ("a",)


def test_two_columns_of_a_frame_with_one_name() -> None:
    with pytest.raises(DataError, match="two columns named 'a'"):
        open_source(pd.DataFrame(np.zeros((2, 2)), columns=["a", "a"]))


def test_arrow_columns_of_a_frame_are_numbers_too() -> None:
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="int32[pyarrow]"), "b": pd.array([1.5, 2], dtype="Float32")})
    source = open_source(frame)
    np.testing.assert_array_equal(source.load(source.atoms()[0]).values, [[1, 1.5], [np.nan, 2]])


def test_lists_of_varying_length_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [[1.0], [1.0, 2.0]]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="column 'x' of .* holds lists of varying length; write it as a list of fixed"):
        open_source(tmp_path / "x.parquet")


def test_what_lies_under_a_null_list_is_not_taken_for_its_values() -> None:
    lists = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2, 3, 4, 5, 6]), 2, mask=pa.array([False, True, False]))
    for column in (pa.chunked_array([lists]), pa.chunked_array([lists.slice(1)])):
        got = _lists(column, np.dtype(np.float64))
        np.testing.assert_array_equal(got, np.array([[1, 2], [np.nan, np.nan], [5, 6]])[-len(column) :])


def test_lists_are_taken_alone(tmp_path: Path) -> None:
    lists = pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2))
    pq.write_table(pa.table({"x": lists, "a": [1.0]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="column 'x' of .* holds lists, and a column of lists is taken alone"):
        open_source(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("second", "given", "sentence"),
    [
        (
            {"a": [1], "b": [2.0]},
            {},
            "column 'a' of .*1.parquet is of type int64, and in the first file of type double",
        ),
        ({"a": [1.0]}, {}, "1.parquet differs from the first file: only one of them has a column 'b'"),
        ({"a": [1.0]}, {"columns": ["b"]}, "1.parquet has no column 'b', which the first file has"),
    ],
    ids=str,
)
def test_files_that_differ_are_named(tmp_path: Path, second: Any, given: Any, sentence: str) -> None:
    pq.write_table(pa.table({"a": [1.0], "b": [2.0]}), tmp_path / "0.parquet")
    pq.write_table(pa.table(second), tmp_path / "1.parquet")
    with pytest.raises(DataError, match=sentence):
        open_source(tmp_path, **given)


def test_files_may_differ_in_columns_that_are_not_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.0], "b": [2.0]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"b": [2], "a": [1.0]}), tmp_path / "1.parquet")
    assert sum(atom.rows or 0 for atom in open_source(tmp_path, columns=["a"]).atoms()) == 2


def test_a_parquet_file_with_one_name_twice(tmp_path: Path) -> None:
    pq.write_table(pa.table([[1.0], [2.0]], names=["a", "a"]), tmp_path / "twice.parquet")
    with pytest.raises(DataError, match="twice.parquet has two columns named 'a'; write it anew"):
        open_source(tmp_path / "twice.parquet")


def test_a_frame_whose_labels_are_no_strings_is_told_by_positions() -> None:
    source = open_source(pd.DataFrame({1: [1.0, 2.0], 0: [3.0, 4.0], "w": [5.0, 6.0]}), weights="w")
    rows = source.load(source.atoms()[0])
    assert source.schema.names is None
    np.testing.assert_array_equal(rows.values, [[1, 3], [2, 4]])
    np.testing.assert_array_equal(rows.weight, [5, 6])
    with pytest.raises(DataError, match="column 1 of the frame is of type"):
        open_source(pd.DataFrame({0: [1.0], 1: ["x"]}))


def test_objects_that_are_numbers_are_numbers() -> None:
    numbers = np.array([[1, 2.5], [True, np.float32(3)]], dtype=object)
    for given in (numbers, pd.DataFrame(numbers, columns=["a", "b"])):
        source = open_source(given)
        assert source.schema.dtype == np.float64
        np.testing.assert_array_equal(source.load(source.atoms()[0]).values, [[1, 2.5], [1, 3]])
    for entry in (None, "1", 1j, 10**400):
        with pytest.raises(DataError, match="object"):
            open_source(np.array([[1, entry]], dtype=object))
