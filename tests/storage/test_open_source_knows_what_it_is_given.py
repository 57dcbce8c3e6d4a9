from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import dask
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem

from dask_em.errors import ConfigError, DataError, InputError
from dask_em.rows import Rows
from dask_em.storage import Atom, Source, open_source, retrying
from tests.sources import Chunks

ROWS = np.arange(60.0).reshape(20, 3)


def all_of(source: Source) -> np.ndarray[Any, Any]:
    return Rows.join([source.load(atom) for atom in source.atoms()]).values


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", ROWS)
    zarr.create_array(tmp_path / "x.zarr", data=ROWS, chunks=(8, 3))
    zarr.create_array(tmp_path / "plain", data=ROWS, chunks=(8, 3), zarr_format=2)
    group = zarr.open_group(tmp_path / "group.zarr", mode="w")
    for name, values, chunk in (("x", ROWS, 8), ("w", np.arange(20), 6), ("pair", ROWS[:2], 2)):
        group.create_array(name, data=values, chunks=(chunk, *values.shape[1:]))
    (tmp_path / "parts").mkdir()
    table = pa.table({name: ROWS[:, i] for i, name in enumerate("abc")})
    pq.write_table(table, tmp_path / "parts" / "0.parquet")
    pq.write_table(table, tmp_path / "x.data")
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.csv").write_text("1,2\n")
    return tmp_path


@pytest.mark.parametrize("name", ["x.npy", "x.zarr", "plain", "parts", "parts/0.parquet", "parts/*.parquet", "x.zarr/"])
def test_paths_by_name_or_by_what_the_folder_holds(files: Path, name: str) -> None:
    np.testing.assert_array_equal(all_of(open_source(f"{files}/{name}")), ROWS)


def test_a_path_whose_format_is_said(files: Path) -> None:
    np.testing.assert_array_equal(all_of(open_source(files / "x.data", format="parquet")), ROWS)


@pytest.mark.parametrize(
    "data", [ROWS, ROWS.tolist(), pd.DataFrame(ROWS), tuple(map(tuple, ROWS))], ids=["array", "list", "frame", "tuple"]
)
def test_rows_in_memory(data: Any) -> None:
    np.testing.assert_array_equal(all_of(open_source(data)), ROWS)


def test_a_series_is_one_column() -> None:
    np.testing.assert_array_equal(all_of(open_source(pd.Series(ROWS[:, 0], name="a"))), ROWS[:, :1])


def test_an_opened_zarr_array_and_a_source_as_it_is(files: Path) -> None:
    source = open_source(zarr.open_array(files / "x.zarr", mode="r"))
    np.testing.assert_array_equal(all_of(source), ROWS)
    assert open_source(source) is source


def test_weights_beside_any_source(files: Path) -> None:
    group = zarr.open_group(files / "group.zarr", mode="r")
    weights: list[Any] = ["w", group["w"], open_source(np.arange(20.0)), np.arange(20), list(range(20))]
    sources = [open_source(files / "group.zarr", array="x", weights=each) for each in weights]
    sources += [open_source(group["x"], weights="w"), open_source(ROWS, weights=group["w"], rows_per_atom=7)]
    for source in sources:
        np.testing.assert_array_equal(all_of(source), ROWS)
        np.testing.assert_array_equal(np.concatenate([source.load(a).weight for a in source.atoms()]), np.arange(20.0))


def test_rows_have_weights_once() -> None:
    source = open_source(Chunks(ROWS, (12, 8), weights=np.arange(20.0)), weights=np.ones(20))
    with pytest.raises(DataError, match="rows of chunks carry weights of their own, and others are .*; give either"):
        source.load(source.atoms()[0])


def test_weights_need_rows_that_are_counted() -> None:
    uncounted = Chunks(ROWS, (20,))
    object.__setattr__(uncounted, "atoms", lambda: [Atom(None, 0, "all")])
    with pytest.raises(DataError, match="chunks does not tell its number of rows.*; let its rows carry their weights"):
        open_source(uncounted, weights=np.ones(20))


def test_weights_that_were_never_written_are_named(files: Path) -> None:
    group = zarr.open_group(files / "group.zarr", mode="a")
    group.create_array("gaps", shape=20, dtype="f8", chunks=6)[:6] = 1.0
    source = open_source(files / "group.zarr", array="x", weights="gaps")
    with pytest.raises(DataError, match="chunk c/1 of array 'gaps' of .* is missing: .*data.missing_chunks: fill"):
        source.load(source.atoms()[0])
    filled = open_source(files / "group.zarr", array="x", weights="gaps", missing_chunks="fill")
    weight = np.concatenate([filled.load(atom).weight for atom in filled.atoms()])
    np.testing.assert_array_equal(weight, np.arange(20) < 6)


def test_weights_that_cannot_be_read_are_named(files: Path) -> None:
    (files / "group.zarr/w/c/1").write_bytes(b"damaged")
    source = open_source(files / "group.zarr", array="x", weights="w")
    with pytest.raises(OSError, match=r"the weights in chunk c/1 of array 'w' of .*: chunk c/1: "):
        source.load(source.atoms()[0])


@pytest.mark.parametrize(
    ("data", "given", "error", "sentence"),
    [
        ("{}/nothing.npy", {}, DataError, "no such file or folder: .*/nothing.npy; check the path"),
        ("{}/nothing.zarr", {}, DataError, "no such file or folder: .*/nothing.zarr"),
        ("{}/nothing.parquet", {}, DataError, "no such file or folder: .*/nothing.parquet"),
        ("{}/nothing", {}, DataError, "no such file or folder: .*/nothing;"),
        ("{}/no*.parquet", {}, DataError, "no .parquet files in .*/no\\*.parquet"),
        ("{}/empty", {}, DataError, "the folder .*/empty holds neither a Zarr store nor Parquet files; known are zarr"),
        ("{}/x.csv", {}, DataError, "has the ending '.csv', from which no format can be told; .*known are zarr .*npy"),
        ("{}/x.csv", {"format": "csv"}, InputError, "there is no format 'csv'"),
        ("{}/x.npy", {"format": "zar"}, InputError, "no format 'zar'. Did you mean 'zarr'"),
        ("{}/x.npy", {"format": "parquet"}, DataError, "x.npy is no Parquet file that can be read"),
        ("{}/x.csv", {"format": "npy"}, DataError, "x.csv is no .npy file that can be read"),
        ("{}/x.npy", {"array": "x"}, InputError, "array does not apply to a .npy file; leave it out"),
        ("{}/x.npy", {"missing_chunks": "fill"}, InputError, "missing_chunks does not apply to a .npy file"),
        ("{}/x.npy", {"weights": "w"}, InputError, "weights does not apply to a .npy file; leave it out"),
        ("{}/x.zarr", {"weights": "w"}, DataError, "x.zarr is an array itself, so no array 'w' with weights .*group"),
        ("{}/group.zarr", {"array": "x", "weights": "v"}, DataError, "has no array 'v'.* Its arrays are: pair, w, x"),
        ("{}/group.zarr", {"array": "x", "weights": "x"}, DataError, "array 'x' of .*, have 2 axes; give one number"),
        ("{}/group.zarr", {"array": "pair", "weights": "w"}, DataError, "'pair' of .* has 2 rows and 20 weights"),
        ("{}/x.zarr", {"array": "x"}, DataError, "x.zarr is an array itself, so it holds no array 'x'"),
        ("{}/x.zarr", {"missing_chunks": "skip"}, InputError, "missing_chunks is 'skip'; give 'error' or 'fill'"),
        ("{}/x.zarr", {"columns": ["a"]}, DataError, "x.zarr has no named columns, so 'a' cannot be found"),
        ("{}/x.zarr", {"columns": [3]}, DataError, "x.zarr has no column 3; its columns are 0 to 2"),
        ("{}/x.zarr", {"columns": [1, 1]}, DataError, "column 1 is asked for twice"),
        ("{}/x.zarr", {"rows_per_atom": 0}, InputError, "rows_per_atom is 0; give an integer of at least 1"),
        (
            "{}/x.zarr",
            {"storage_options": {"anon": True}},
            InputError,
            "storage_options do not apply to the local path",
        ),
        ("{}/x.zarr", {"weights": [1.0]}, DataError, "x.zarr has 20 rows and 1 weights"),
        ("{}/x.zarr", {"weights": 2.0}, DataError, "the weights for .*x.zarr have 0 axes; give one number for each"),
        ("{}/x.zarr", {"weights": ["a"] * 20}, DataError, "the weights for .*x.zarr is of type <U1"),
        ("{}/x.zarr", {"weights": np.ma.ones(20)}, InputError, "x.zarr are a masked array, whose mask would be lost"),
        ("{}/x.zarr", {"weights": open_source(ROWS)}, DataError, "the weights, array, have 3 columns"),
        ("{}/x.zarr", {"weights": open_source(ROWS[1:, 0])}, DataError, "x.zarr has 20 rows and 19 weights"),
        ("{}/parts", {"array": "x"}, InputError, "array does not apply to Parquet"),
        ("nosuch://x.npy", {}, DataError, "cannot open nosuch://x.npy: .*nosuch"),
        ("example:photos", {}, ConfigError, "no example 'photos'. Did you mean 'photo-patches'"),
        ({1, 2}, {}, InputError, "data of type builtins.set is not accepted; give a path or URL, a NumPy array"),
        ([[1, 2], [3]], {}, InputError, "give rows of equal length"),
        (ROWS, {"format": "npy"}, InputError, "format does not apply to a ndarray"),
        (ROWS, {"weights": "w"}, InputError, "weights does not apply to an array in memory"),
        (ROWS.astype(complex), {}, DataError, "array is of type complex128, which cannot be used"),
        (np.array(["a", "b"]), {}, DataError, "array is of type <U1, which cannot be used"),
        (np.array([1, None]), {}, DataError, "array is of type object, which cannot be used"),
        (np.zeros(3, "M8[s]"), {}, DataError, r"array is of type datetime64\[s\]"),
        (np.zeros(3, "g"), {}, DataError, "array is of type (float128|longdouble), which cannot be used"),
        (np.ma.masked_equal(ROWS, 3), {}, InputError, "masked array, whose mask would be lost"),
        (np.zeros((2, 3, 4)), {}, DataError, "has 3 axes of sizes .2, 3, 4.; reshape it to rows x columns, or"),
        (np.zeros(3), {"feature_axis": 0}, DataError, "feature_axis does not apply; leave it out"),
        (ROWS, {"feature_axis": 2}, DataError, "feature_axis must be from 0 to 1, and 2 is not"),
        (np.float64(3), {}, InputError, "data of type numpy.float64 is not accepted"),
        (np.zeros(()), {}, DataError, "array is a single number"),
        (np.zeros((3, 0)), {}, DataError, "has no columns"),
    ],
)
def test_what_cannot_be_opened_is_said_in_a_sentence(
    files: Path, data: Any, given: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        open_source(data.format(files) if isinstance(data, str) else data, **given)


def test_an_argument_means_nothing_to_a_source_that_is_ready() -> None:
    with pytest.raises(InputError, match="columns does not apply to a source, which is ready"):
        open_source(open_source(ROWS), columns=[0])


class Closed(MemoryFileSystem):
    """A store that refuses, and tells the secret in its own words."""

    protocol = "closed"

    def exists(self, path: str, **kwargs: Any) -> bool:
        raise RuntimeError("403 for https://user:secret@host/x.npy, bucket user:secret@host")


def test_a_store_that_refuses_is_named_with_its_reason_but_without_the_secret() -> None:
    fsspec.register_implementation("closed", Closed, clobber=True)
    with pytest.raises(DataError, match=r"cannot be reached \(403 for https.*check the address and the stor") as raised:
        open_source("closed://user:secret@host/x.npy")
    assert "secret" not in str(raised.value)


def test_a_url_is_named_without_its_credentials() -> None:
    with pytest.raises(DataError, match="no such file") as raised:
        open_source("memory://user:secret@host/x.npy")
    assert "secret" not in str(raised.value)


def test_a_delayed_value_is_no_source_though_it_has_every_attribute() -> None:
    with pytest.raises(InputError, match=r"data of type dask\.delayed\.Delayed.* is not accepted; give a path"):
        open_source(dask.delayed(ROWS))


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(InputError, match="the path is empty"):
        open_source("")


@pytest.mark.parametrize("name", ["x.npy", "x.zarr", "x.parquet"])
def test_a_server_that_does_not_answer_is_no_missing_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PAUSE_MOST", 0.01)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(DataError, match=f"Cannot connect to host {address}") as caught:
            open_source(f"http://me:secret@{address}/{name}")
    assert "secret" not in str(caught.value)
