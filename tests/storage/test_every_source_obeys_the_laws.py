"""Every source obeys the laws of the protocol's docstring; one line of the registry adds a source."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from dask_em.rows import Rows
from dask_em.storage import open_source
from dask_em.storage.blocks import Block, Piece, Reader
from dask_em.storage.numpy import ArraySource, NpySource
from dask_em.storage.pandas import FrameSource
from dask_em.storage.parquet import ParquetSource
from dask_em.storage.source import Source
from dask_em.storage.weighted import Weighted
from dask_em.storage.zarr import ZarrSource

Array = np.ndarray[Any, Any]
Given = tuple[Source, Array, Array | None]  # the source, the rows (n, d) that it must deliver, and their weights
SMALL = 4096  # bytes: a source travels with every task


class SourceLaws(ABC):
    """The laws of a source. A subclass, named ``Test...``, says in ``given`` which source and what it must deliver."""

    @abstractmethod
    @pytest.fixture
    def given(self, tmp_path: Path, request: Any) -> Given:
        """Return a source, its rows (n, d), and its weights (n,) or None."""

    def test_delivers_the_rows_in_order_and_in_the_type_of_its_schema(self, given: Given) -> None:
        source, values, weight = given
        rows = Rows.join([source.load(atom) for atom in source.atoms()])
        assert rows.values.shape == values.shape
        assert source.schema.features == values.shape[1]
        assert rows.values.dtype == source.schema.dtype
        np.testing.assert_array_equal(rows.values, values, strict=True)
        np.testing.assert_array_equal(rows.weight, np.ones(len(values)) if weight is None else weight, strict=True)

    def test_gives_the_same_atoms_each_time(self, given: Given) -> None:
        first, second = given[0].atoms(), given[0].atoms()
        assert len(first) > 1, "a law about order needs two atoms"
        assert [(a.rows, a.nbytes, a.place) for a in first] == [(a.rows, a.nbytes, a.place) for a in second]

    def test_loads_as_many_rows_as_an_atom_says_and_the_same_bits_each_time(self, given: Given) -> None:
        source = given[0]
        for atom in source.atoms():
            rows = source.load(atom)
            assert len(rows) == atom.rows
            assert rows.values.nbytes <= atom.nbytes
            assert rows.values.tobytes() == source.load(atom).values.tobytes()

    @pytest.mark.parametrize("cut", [slice(3, 9), slice(0, 1), slice(5, None), slice(4, 4), slice(-3, None)], ids=str)
    def test_loads_a_slice_of_an_atom_as_a_slice_of_its_rows(self, given: Given, cut: slice) -> None:
        source = given[0]
        for atom in (source.atoms()[0], source.atoms()[-1]):
            part, whole = source.load(atom, cut), source.load(atom)
            np.testing.assert_array_equal(part.values, whole.values[cut], strict=True)
            np.testing.assert_array_equal(part.weight, whole.weight[cut], strict=True)

    def test_delivers_what_a_kernel_wants(self, given: Given) -> None:
        source = given[0]
        rows = source.load(source.atoms()[0])
        assert rows.values.flags.c_contiguous
        assert rows.values.dtype.isnative
        assert rows.weight.dtype == np.float64

    def test_travels_small_and_reads_the_same_where_it_arrives(self, given: Given) -> None:
        source = given[0]
        atoms = source.atoms()
        sent = pickle.dumps(source)
        assert len(sent) < SMALL
        arrived = pickle.loads(sent)
        assert (arrived.name, arrived.schema) == (source.name, source.schema)
        for atom in atoms:
            carried = pickle.dumps(atom)
            assert len(carried) < SMALL + atom.nbytes + 8 * (atom.rows or 0)
            rows = arrived.load(pickle.loads(carried))
            assert rows.values.tobytes() == source.load(atom).values.tobytes()
            assert rows.weight.tobytes() == source.load(atom).weight.tobytes()

    def test_reads_the_same_in_slabs_that_end_where_atoms_do_not(self, given: Given) -> None:
        source, values, _ = given
        pieces = tuple(Piece(atom, 0, atom.rows or 0) for atom in source.atoms())
        slabs = list(Reader(source, 101).slabs(Block(0, 0, pieces)))
        assert {len(slab) for slab in slabs[:-1]} == {101}
        np.testing.assert_array_equal(np.concatenate([slab.values for slab in slabs]), values)


def numbers(dtype: str = "f8", shape: tuple[int, ...] = (500, 7)) -> Array:
    return (np.random.default_rng(5).normal(size=shape) * 50).astype(dtype)


def stored(folder: Path, rows: Array, **options: Any) -> Path:
    path = folder / "data.zarr"
    zarr.create_array(path, shape=rows.shape, dtype=rows.dtype, **options)[:] = rows
    return path


def array_of(dtype: str) -> Callable[[Path], Given]:
    return lambda _: (ArraySource(numbers(dtype), 64), numbers(dtype), None)


def zarr_of(dtype: str, **options: Any) -> Callable[[Path], Given]:
    return lambda folder: (ZarrSource(stored(folder, numbers(dtype), **options)), numbers(dtype), None)


def fortran_array(_: Path) -> Given:
    return ArraySource(np.asfortranarray(numbers()), 64), numbers(), None


def one_axis(_: Path) -> Given:
    return ArraySource(numbers()[:, 0], 64), numbers()[:, :1], None


def foreign_byte_order(_: Path) -> Given:
    return ArraySource(numbers(">f4"), 64), numbers("f4"), None


def cube(_: Path) -> Given:
    image = numbers("f4", (5, 30, 20))
    return ArraySource(image, 64, feature_axis=0), image.reshape(5, -1).T.copy(), None


def chosen_columns(_: Path) -> Given:
    return ArraySource(numbers(), 64, columns=[5, 2]), numbers()[:, [5, 2]], None


def npy(folder: Path) -> Given:
    np.save(folder / "x.npy", numbers("f4"))
    return NpySource(folder / "x.npy", 64, columns=[1, 2, 4]), numbers("f4")[:, [1, 2, 4]], None


def fortran_npy(folder: Path) -> Given:
    np.save(folder / "x.npy", np.asfortranarray(numbers()))
    return NpySource(folder / "x.npy", 64), numbers(), None


def remote(rows: Array) -> str:
    with fsspec.open("memory://x.npy", "wb") as file:
        np.save(file, rows)
    return "memory://x.npy"


def remote_npy(_: Path) -> Given:
    return NpySource(remote(numbers(">i4")), 64, columns=[3, 1]), numbers("i4")[:, [3, 1]], None


def remote_npy_features_first(_: Path) -> Given:
    image = numbers("f4", (5, 30, 20))
    source = NpySource(remote(image), 64, feature_axis=0, columns=[1, 3])
    return source, image[[1, 3]].reshape(2, -1).T.copy(), None


def frame(_: Path) -> Given:
    table = pd.DataFrame({"a": numbers("f4")[:, 0], "b": numbers("i2")[:, 1], "w": np.arange(500.0), "c": "text"})
    rows = np.stack([numbers("i2")[:, 1], numbers("f4")[:, 0]], axis=1)
    return FrameSource(table, ["b", "a"], "w", 64), rows.astype("f4"), np.arange(500.0)


def frame_with_gaps(_: Path) -> Given:
    whole = pd.array([None, *range(499)], dtype="Int64")
    table = pd.DataFrame({"a": whole, "b": pd.array(range(500), dtype="Int32"), "c": pd.array([True] * 500)})
    rows = np.stack([np.r_[np.nan, np.arange(499.0)], np.arange(500.0), np.ones(500)], axis=1)
    return FrameSource(table, rows_per_atom=64), rows, None


def zarr_group(folder: Path) -> Given:
    zarr.open_group(folder / "g.zarr").create_array("deep/x", data=numbers("f4"), chunks=(64, 3))
    return ZarrSource(folder / "g.zarr", "deep/x", columns=[4, 3]), numbers("f4")[:, [4, 3]], None


def zarr_one_axis(folder: Path) -> Given:
    rows = numbers()[:, 0]
    return ZarrSource(stored(folder, rows, chunks=(64,))), rows[:, None], None


def zarr_cube(folder: Path) -> Given:
    image = numbers("f4", (30, 20, 5))
    return ZarrSource(stored(folder, image, chunks=(8, 7, 3)), feature_axis=-1), image.reshape(-1, 5), None


def zarr_cube_features_first(folder: Path) -> Given:
    image = numbers("f4", (5, 30, 20))
    source = ZarrSource(stored(folder, image, chunks=(2, 8, 7)), feature_axis=0)
    return source, image.reshape(5, -1).T.copy(), None


def zarr_opened(folder: Path) -> Given:
    return ZarrSource(zarr.open_array(stored(folder, numbers(), chunks=(64, 7)))), numbers(), None


def zarr_zip(folder: Path) -> Given:
    with zarr.storage.ZipStore(folder / "x.zarr.zip", mode="w") as store:
        zarr.create_array(store, shape=(500, 7), dtype="f8", chunks=(64, 7))[:] = numbers()
    return ZarrSource(folder / "x.zarr.zip"), numbers(), None


def zarr_shards_cut(folder: Path) -> Given:
    path = stored(folder, numbers(), chunks=(20, 7), shards=(200, 7))
    return ZarrSource(path, rows_per_atom=30), numbers(), None


def parquet(folder: Path) -> Given:
    table = pa.table({"a": numbers("f4")[:, 0], "i": numbers("i2")[:, 1], "w": np.arange(500.0), "t": ["x"] * 500})
    (folder / "data" / "deep").mkdir(parents=True)
    pq.write_table(table.slice(0, 300), folder / "data" / "a.parquet", row_group_size=100)
    pq.write_table(table.slice(300), folder / "data" / "deep" / "b.parquet", row_group_size=150)
    pq.write_table(table, folder / "data" / "_left_out.parquet")
    rows = np.stack([numbers("f4")[:, 0], numbers("i2")[:, 1]], axis=1).astype("f4")
    return ParquetSource(folder / "data", ["a", "i"], "w"), rows, np.arange(500.0)


def parquet_with_gaps(folder: Path) -> Given:
    whole, truth = [None, *range(499)], [True, None] * 250
    table = pa.table({"a": pa.array(whole, pa.int32()), "b": pa.array(truth), "c": numbers("f4")[:, 0]})
    pq.write_table(table, folder / "x.parquet", row_group_size=100)
    rows = np.stack([np.r_[np.nan, np.arange(499.0)], [1, np.nan] * 250, numbers("f4")[:, 0]], axis=1)
    return ParquetSource(folder / "*.parquet"), rows, None


def parquet_lists(folder: Path) -> Given:
    rows = numbers("f4")
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 7)
    pq.write_table(pa.table({"x": lists, "t": ["x"] * 500}), folder / "x.parquet", row_group_size=100)
    return ParquetSource(folder / "x.parquet", ["x"]), rows, None


def parquet_lists_with_null_rows(folder: Path) -> Given:
    rows = numbers("i4").astype("f8")
    rows[[3, 499]], rows[7, 2] = np.nan, np.nan
    cells = [None if np.isnan(row).all() else [None if np.isnan(v) else int(v) for v in row] for row in rows]
    lists = pa.array(cells, pa.list_(pa.int32(), 7))
    pq.write_table(pa.table({"x": lists}), folder / "x.parquet", row_group_size=100)
    return ParquetSource(folder / "x.parquet"), rows, None


def parquet_remote(_: Path) -> Given:
    with fsspec.open("memory://p/x.parquet", "wb") as file:
        pq.write_table(pa.table({"a": numbers("f2")[:, 0]}), file, row_group_size=100)
    return ParquetSource("memory://p"), numbers("f2")[:, :1], None


def weighted(folder: Path) -> Given:
    source = ZarrSource(stored(folder, numbers(), chunks=(64, 7)))
    return Weighted(source, np.arange(500)), numbers(), np.arange(500.0)


def weights_of_the_group(folder: Path) -> Given:
    group = zarr.open_group(folder / "group.zarr", mode="w")
    group.create_array("x", data=numbers(), chunks=(64, 7))
    group.create_array("w", data=np.arange(500, dtype="u2"), chunks=(100,))
    return open_source(folder / "group.zarr", array="x", weights="w"), numbers(), np.arange(500.0)


REGISTRY: dict[str, Callable[[Path], Given]] = {
    **{f"array_{dtype}": array_of(dtype) for dtype in ("f2", "f4", "f8", "i1", "u2", "i8", "?")},
    **{f"zarr3_{dtype}": zarr_of(dtype, chunks=(64, 3)) for dtype in ("f2", "f4", "i1", "u8", "?")},
    "zarr2": zarr_of("f4", chunks=(64, 3), zarr_format=2),
    "zarr2_fortran": zarr_of("f8", chunks=(64, 3), zarr_format=2, order="F"),
    "zarr3_sharded": zarr_of("f4", chunks=(32, 3), shards=(64, 9)),
    "zarr3_uncompressed": zarr_of("f4", chunks=(64, 7), compressors=None),
    **{
        make.__name__: make
        for make in (
            *(fortran_array, one_axis, foreign_byte_order, cube, chosen_columns),
            *(npy, fortran_npy, remote_npy, remote_npy_features_first),
            *(frame, frame_with_gaps),
            *(zarr_group, zarr_one_axis, zarr_cube, zarr_cube_features_first, zarr_opened, zarr_zip, zarr_shards_cut),
            *(parquet, parquet_with_gaps, parquet_lists, parquet_lists_with_null_rows, parquet_remote),
            *(weighted, weights_of_the_group),
        )
    },
}


class TestRegistry(SourceLaws):
    @pytest.fixture(params=REGISTRY)
    def given(self, tmp_path: Path, request: Any) -> Given:
        return REGISTRY[request.param](tmp_path)
