from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from numcodecs import Blosc, Delta

from dask_em.errors import DataError
from dask_em.storage.blocks import Block, Piece, Reader
from dask_em.storage.numpy import NpySource
from dask_em.storage.parquet import ParquetSource
from dask_em.storage.source import Source
from dask_em.storage.zarr import ZarrSource

ROWS = np.random.default_rng(3).normal(size=(40, 6)).astype("f4")
FORMATS: dict[str, tuple[dict[str, Any], str]] = {  # how to write it, and the key of the chunk at row 10, column 3
    "v2": ({"zarr_format": 2, "chunks": (10, 3)}, "1.1"),
    "v3": ({"chunks": (10, 3)}, "c/1/1"),
    "sharded": ({"chunks": (5, 3), "shards": (10, 3)}, "c/1/1"),
}


def read(source: Source) -> np.ndarray[Any, Any]:
    pieces = tuple(Piece(atom, 0, atom.rows or 0) for atom in source.atoms())
    return np.concatenate([rows.values for rows in Reader(source, 16).slabs(Block(4, 0, pieces))])


@pytest.fixture(params=FORMATS)
def store(request: Any, tmp_path: Path) -> tuple[Path, Path, str]:
    options, key = FORMATS[request.param]
    group = zarr.open_group(tmp_path / "data.zarr", mode="w", zarr_format=options.get("zarr_format", 3))
    given = {name: value for name, value in options.items() if name != "zarr_format"}
    group.create_array("x", shape=ROWS.shape, dtype=ROWS.dtype, **given)[:] = ROWS
    return tmp_path / "data.zarr", tmp_path / "data.zarr" / "x" / key, key


def test_a_lost_chunk_is_refused_with_both_causes_and_the_remedies(store: tuple[Path, Path, str]) -> None:
    path, chunk, key = store
    source = ZarrSource(path, "x")
    assert np.array_equal(read(source), ROWS)
    chunk.unlink()
    with pytest.raises(DataError, match=f"chunk .*{key} of array 'x' of .*data.zarr is missing") as raised:
        read(source)
    for part in ("was lost", "write_empty_chunks=False", "write_empty_chunks=True", "data.missing_chunks: fill"):
        assert part in str(raised.value)


def test_a_lost_chunk_reads_as_fill_where_that_is_asked_for(store: tuple[Path, Path, str]) -> None:
    path, chunk, _ = store
    chunk.unlink()
    wanted = ROWS.copy()
    wanted[10:20, 3:6] = 0
    assert np.array_equal(read(ZarrSource(path, "x", missing_chunks="fill")), wanted)


def test_a_chunk_that_is_not_asked_for_may_be_missing(store: tuple[Path, Path, str]) -> None:
    path, chunk, _ = store
    chunk.unlink()
    assert np.array_equal(read(ZarrSource(path, "x", columns=[0, 2])), ROWS[:, [0, 2]])


@pytest.mark.parametrize("fill", [0.0, np.nan, 7.0])
@pytest.mark.parametrize("place", ["start", "end"])
def test_an_inner_chunk_that_a_shard_left_out_is_named(tmp_path: Path, fill: float, place: Any) -> None:
    codec = zarr.codecs.ShardingCodec(chunk_shape=(5, 3), index_location=place)
    array = zarr.create_array(
        tmp_path / "x.zarr",
        shape=(40, 6),
        dtype="f8",
        chunks=(20, 6),
        serializer=codec,
        compressors=None,
        fill_value=fill,
    )
    rows = ROWS.astype("f8")
    rows[25:30, 3:] = fill  # a whole inner chunk: the second by the second of the second shard
    array[:] = rows
    with pytest.raises(DataError, match="chunk 1/1 of shard c/1/0 of .*x.zarr is missing"):
        read(ZarrSource(tmp_path / "x.zarr"))
    assert np.array_equal(read(ZarrSource(tmp_path / "x.zarr", missing_chunks="fill")), rows, equal_nan=True)


@pytest.mark.parametrize("name", FORMATS)
def test_chunks_of_fill_value_that_were_written_are_no_gap(tmp_path: Path, name: str) -> None:
    rows, options = np.zeros_like(ROWS), FORMATS[name][0]
    path = tmp_path / "x.zarr"
    array = zarr.create_array(path, shape=rows.shape, dtype=rows.dtype, config={"write_empty_chunks": True}, **options)
    array[:] = rows
    source = ZarrSource(path)
    assert np.array_equal(read(source), rows)
    assert np.array_equal(read(source), rows)


def test_a_truncated_chunk_is_named_with_block_and_rows(store: tuple[Path, Path, str]) -> None:
    path, chunk, key = store
    source = ZarrSource(path, "x")
    os.truncate(chunk, chunk.stat().st_size // 2)
    with pytest.raises(DataError, match=rf"array 'x' of .*data.zarr \(block 4, rows 0 to 9 of it\): chunk .*{key}: "):
        read(source)


@pytest.mark.parametrize("keep", [0, 5, 60, 115])
@pytest.mark.parametrize(
    "options",
    [
        {"compressors": Blosc(), "zarr_format": 2},
        {"compressors": Blosc(), "zarr_format": 2, "filters": [Delta("f4")]},
        {"compressors": zarr.codecs.BloscCodec(cname="lz4")},
    ],
    ids=["v2", "v2_filtered", "v3"],
)
def test_a_truncated_blosc_chunk_is_not_decoded_to_what_lies_behind_it(
    tmp_path: Path, options: dict[str, Any], keep: int
) -> None:
    array = zarr.create_array(tmp_path / "x.zarr", shape=(40, 6), dtype="f4", chunks=(10, 3), **options)
    array[:] = ROWS
    source = ZarrSource(tmp_path / "x.zarr")
    assert np.allclose(read(source), ROWS, atol=1e-5)
    key = array.metadata.encode_chunk_key((2, 1))
    os.truncate(tmp_path / "x.zarr" / key, keep)
    with pytest.raises(DataError, match=f"chunk {key}: {keep} bytes are there of"):
        read(source)


def test_a_truncated_chunk_without_codecs_is_named(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "x.zarr", data=ROWS, chunks=(10, 6), compressors=None)
    os.truncate(tmp_path / "x.zarr" / "c" / "2" / "0", 100)
    with pytest.raises(DataError, match=r"cannot read chunk c/2/0 of .*x.zarr \(block 4"):
        read(ZarrSource(tmp_path / "x.zarr"))


def test_a_wrong_array_in_a_group_lists_the_arrays(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "g.zarr")
    group.create_array("flux", data=ROWS)
    group.create_array("deep/noise", data=ROWS)
    with pytest.raises(DataError, match="g.zarr is a group; say with array .*its arrays are: deep/noise, flux"):
        ZarrSource(tmp_path / "g.zarr")
    with pytest.raises(DataError, match="no array 'fluks'. Did you mean 'flux'. Its arrays are: deep/noise, flux"):
        ZarrSource(tmp_path / "g.zarr", "fluks")
    with pytest.raises(DataError, match="no array 'deep'"):
        ZarrSource(tmp_path / "g.zarr", "deep")


def test_a_store_that_is_rewritten_otherwise_is_told_from_the_one_that_was_opened(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "x.zarr", data=ROWS, chunks=(10, 6))
    old = ZarrSource(tmp_path / "x.zarr")
    zarr.create_array(tmp_path / "x.zarr", data=ROWS[:20], chunks=(10, 6), overwrite=True)
    with pytest.raises(DataError, match="x.zarr changed since it was opened; open it again"):
        read(old)
    assert np.array_equal(read(ZarrSource(tmp_path / "x.zarr")), ROWS[:20])


def test_an_array_in_memory_of_zarr_cannot_travel() -> None:
    with pytest.raises(ValueError, match=r"MemoryStore cannot be opened elsewhere; .* or its rows as array\[:\]"):
        ZarrSource(zarr.create_array({}, data=ROWS))


def test_what_is_no_zarr_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.zarr").mkdir()
    with pytest.raises(DataError, match="x.zarr holds no Zarr array or group that can be opened"):
        ZarrSource(tmp_path / "x.zarr")


def test_a_truncated_npy_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, ROWS)
    source = NpySource(path)
    os.truncate(path, 500)
    with pytest.raises(DataError, match="x.npy is truncated: 500 bytes where its header tells of 1088"):
        NpySource(path)
    with pytest.raises(DataError, match=r"cannot read rows 0 to 39 of .*x.npy \(block 4, rows 0 to 39 of it\)"):
        read(source)


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": ROWS[:, 0]}), path)
    source = ParquetSource(path)
    os.truncate(path, 30)
    with pytest.raises(DataError, match="x.parquet is no Parquet file that can be read .*may be truncated"):
        ParquetSource(path)
    with pytest.raises(DataError, match=r"cannot read row group 0 of .*x.parquet \(block 4, rows 0 to 39 of it\)"):
        read(source)


def test_a_rewritten_parquet_file_is_told_from_the_one_that_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": ROWS[:, 0]}), path)
    assert len(read(ParquetSource(path))) == 40
    pq.write_table(pa.table({"a": ROWS[:20, 0]}), path)
    assert np.array_equal(read(ParquetSource(path)), ROWS[:20, :1])
