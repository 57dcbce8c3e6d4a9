from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from dask_em.errors import ConfigError, DataError, InternalError
from dask_em.execution import Threads
from dask_em.reduction import Serial
from dask_em.rows import Rows
from dask_em.statistics import Manifest
from dask_em.storage import ArraySink, open_sink, open_source
from dask_em.storage.blocks import Block, Layout, Piece

ROWS = np.random.default_rng(4).normal(size=(100, 3))
CHUNK = 8
FIRSTS = [0, 40, 80]


def layout(slab_rows: int = 7) -> Layout:
    source = open_source(ROWS, rows_per_atom=20)
    atoms = source.atoms()
    cuts = [(atoms[0], atoms[1]), (atoms[2], atoms[3]), (atoms[4],)]
    blocks = tuple(Block(i, FIRSTS[i], tuple(Piece(a, 0, a.rows or 0) for a in part)) for i, part in enumerate(cuts))
    return Layout(source, blocks, slab_rows)


def doubled(rows: Rows) -> np.ndarray[Any, Any]:
    return rows.values * 2


def summed(rows: Rows) -> np.ndarray[Any, Any]:
    return np.zeros(len(rows), np.int32) + (rows.values.sum(axis=1) > 0)


def nothing(rows: Rows) -> np.ndarray[Any, Any]:
    return np.zeros(len(rows), np.int32)


def sink_to(destination: Any, width: int | None = 3, rows: int = 100) -> Any:
    names = ("a", "b", "c")[: width or 1]
    return open_sink(destination, rows, width, names, np.dtype(np.float64 if width else np.int32), CHUNK)


def read(path: str, columns: int | None) -> np.ndarray[Any, Any]:
    found = open_source(path)
    values = Rows.join([found.load(atom) for atom in found.atoms()]).values
    return values if columns else values[:, 0]


@pytest.mark.parametrize("place", ["{}/out.zarr", "{}/out.parquet", "memory://{}/out.zarr", "memory://{}/out.parquet"])
def test_results_are_there_in_order_and_no_trace_of_the_way(tmp_path: Path, place: str) -> None:
    destination = place.format(tmp_path)
    manifest = Serial(layout()).write(doubled, sink_to(destination))
    assert manifest.rows == 100
    np.testing.assert_array_equal(read(destination, 3), ROWS * 2)
    system, path = fsspec.core.url_to_fs(destination)
    assert [name.rpartition("/")[2] for name in system.ls(path.rpartition("/")[0], detail=False)] == [
        destination.rpartition("/")[2]
    ]


@pytest.mark.parametrize("name", ["out.zarr", "out.parquet"])
def test_one_number_a_row(tmp_path: Path, name: str) -> None:
    Serial(layout()).write(summed, sink_to(tmp_path / name, None))
    np.testing.assert_array_equal(read(str(tmp_path / name), None), (ROWS.sum(axis=1) > 0).astype(np.int32))


def test_what_is_written_is_plain_zarr_and_parquet(tmp_path: Path) -> None:
    Serial(layout()).write(nothing, sink_to(tmp_path / "out.zarr", None))
    array = zarr.open_array(tmp_path / "out.zarr", mode="r")
    assert (array.shape, array.dtype, array.metadata.zarr_format) == ((100,), np.int32, 3)
    assert array.nchunks_initialized == array.nchunks, "chunks of zeros are written too"
    Serial(layout()).write(doubled, sink_to(tmp_path / "out.parquet"))
    assert sorted(p.name for p in (tmp_path / "out.parquet").iterdir()) == [f"part-0000{i}.parquet" for i in range(3)]
    assert pq.read_table(tmp_path / "out.parquet").column_names == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["out.zarr", "out.parquet"])
def test_nothing_is_seen_before_the_commit(tmp_path: Path, name: str) -> None:
    sink, whole = sink_to(tmp_path / name), layout()
    sink.begin()
    for block in whole.blocks:
        pickle.loads(pickle.dumps(sink)).write(block, iter([ROWS[block.first : block.first + block.rows]]))
    assert not (tmp_path / name).exists()
    with pytest.raises(InternalError, match=f"60 of 100 rows were written to .*{name}; nothing was put in place"):
        sink.commit(Manifest(60, 1, ()))
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["out.zarr", "out.parquet"])
def test_writing_a_block_twice_leaves_what_writing_it_once_leaves(tmp_path: Path, name: str) -> None:
    sink, whole = sink_to(tmp_path / name), layout()
    sink.begin()

    def died() -> Iterator[np.ndarray[Any, Any]]:
        yield ROWS[:CHUNK] + 1
        raise ConnectionError("the worker was lost")

    with pytest.raises(ConnectionError, match="lost"):
        sink.write(whole.blocks[0], died())
    manifests = []
    for _ in range(2):
        manifests = [sink.write(b, iter([ROWS[b.first : b.first + b.rows]])) for b in whole.blocks]
    sink.commit(manifests[0] + manifests[1] + manifests[2])
    np.testing.assert_array_equal(read(str(tmp_path / name), 3), ROWS)
    assert not list(tmp_path.rglob("_*"))


@pytest.mark.parametrize("name", ["out.zarr", "out.parquet"])
def test_a_destination_that_exists_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=f"{name} exists already; remove it, or choose another name"):
        sink_to(tmp_path / name).begin()


def test_a_destination_that_was_made_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    sink, other, whole = sink_to(tmp_path / "out.zarr"), sink_to(tmp_path / "out.zarr"), layout()
    sink.begin()
    manifest = sink.write(Block(0, 0, ()), iter([ROWS]))
    Serial(whole).write(doubled, other)
    with pytest.raises(DataError, match="exists already"):
        sink.commit(manifest)
    np.testing.assert_array_equal(read(str(tmp_path / "out.zarr"), 3), ROWS * 2)


def test_a_block_that_shares_a_chunk_with_another_is_a_fault_of_ours(tmp_path: Path) -> None:
    sink = sink_to(tmp_path / "out.zarr")
    sink.begin()
    with pytest.raises(InternalError, match="block 1 begins at row 41, which is no multiple of 8"):
        sink.write(Block(1, 41, ()), iter([ROWS]))


@pytest.mark.parametrize("name", ["out.csv", "out", "out.npy"])
def test_another_ending_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"results cannot be written to .*{name}; let its name end with .zarr or"):
        sink_to(tmp_path / name)


def test_in_memory() -> None:
    sink = ArraySink(100, 3, np.dtype(np.float64))
    assert Serial(layout()).write(doubled, sink).nbytes == ROWS.nbytes
    np.testing.assert_array_equal(sink.result, ROWS * 2)
    with pytest.raises(InternalError, match="cannot be written from another process"):
        pickle.dumps(sink)


def breaks(rows: Rows) -> np.ndarray[Any, Any]:
    if rows.index[-1] >= 50:
        raise DataError("row 50 is not finite")
    return rows.values * 2


@pytest.mark.parametrize("place", ["{}/out.zarr", "{}/out.parquet", "memory://{}/out.zarr", "memory://{}/out.parquet"])
@pytest.mark.parametrize("reducer", [Serial, Threads])
def test_a_write_that_fails_leaves_nothing(tmp_path: Path, place: str, reducer: Any) -> None:
    destination = place.format(tmp_path)
    with pytest.raises(DataError, match="row 50 is not finite"):
        reducer(layout()).write(breaks, sink_to(destination))
    system, path = fsspec.core.url_to_fs(destination)
    folder = path.rpartition("/")[0]
    assert not system.exists(folder) or system.ls(folder, detail=False) == []


def test_a_block_that_ends_after_the_write_was_given_up_leaves_nothing(tmp_path: Path) -> None:
    sink, whole = sink_to(tmp_path / "out.zarr"), layout()

    def late() -> Any:
        yield ROWS[:8]
        sink.abandon()
        yield ROWS[8:40]

    sink.begin()
    sink.write(whole.blocks[0], late())
    assert list(tmp_path.iterdir()) == []
