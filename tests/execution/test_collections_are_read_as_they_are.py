from __future__ import annotations

import pickle
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client

from dask_em.errors import DataError, InputError
from dask_em.execution.collections import collection_source, is_collection
from dask_em.execution.counting import counted
from dask_em.execution.dask_reducer import DaskReducer
from dask_em.reduction import Serial
from dask_em.storage.source import Source
from tests.execution.cases import Seeded, layout_of, sums, values_of

TABLE = pd.DataFrame({"a": np.arange(10.0), "b": np.arange(10), "name": list("abcdefghij")})


def values_in(source: Source) -> np.ndarray[Any, Any]:
    return np.concatenate([source.load(atom).values for atom in source.atoms()])


def test_an_array_of_one_axis_is_one_column() -> None:
    source = collection_source(da.arange(10, chunks=4))
    assert source.schema.features == 1
    assert [atom.rows for atom in source.atoms()] == [4, 4, 2]
    np.testing.assert_array_equal(values_in(source), np.arange(10)[:, None])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_a_cube_is_flattened_to_rows_in_c_order(axis: int) -> None:
    cube = values_of(0, 4 * 5 * 6, 1).reshape(4, 5, 6)
    source = collection_source(da.from_array(cube, chunks=(2, 3, 4)), feature_axis=axis)
    expected = np.moveaxis(cube, axis, -1)
    np.testing.assert_array_equal(values_in(source), expected.reshape(-1, expected.shape[-1]))
    assert sum(atom.rows or 0 for atom in source.atoms()) == 120 // expected.shape[-1]


def test_atoms_are_loaded_in_part_and_keep_their_type() -> None:
    source = collection_source(da.from_array(values_of(0, 50).astype("f4"), chunks=20))
    atom = source.atoms()[1]
    rows = source.load(atom, slice(3, 8))
    np.testing.assert_array_equal(rows.values, source.load(atom).values[3:8])
    assert rows.values.dtype == source.schema.dtype == np.float32
    assert rows.values.flags.c_contiguous
    assert atom.nbytes == 20 * 3 * 4


def test_an_atom_travels_alone() -> None:
    x = da.from_array(values_of(0, 40_000), chunks=(10_000, 2))
    source = collection_source(x)
    atom = source.atoms()[2]
    assert len(pickle.dumps(source)) < 2_000
    assert len(pickle.dumps(atom)) < 1.1 * atom.nbytes
    copy, there = pickle.loads(pickle.dumps((source, atom)))
    np.testing.assert_array_equal(copy.load(there).values, x[20_000:30_000].compute())


@pytest.mark.parametrize("kind", [np.asarray, lambda w: da.from_array(w, chunks=7)])
def test_weights_go_with_their_rows(kind: Any) -> None:
    weights = np.linspace(0.0, 2.0, 50)
    source = collection_source(da.from_array(values_of(0, 50), chunks=20), weights=kind(weights))
    got = np.concatenate([source.load(atom).weight for atom in source.atoms()])
    np.testing.assert_array_equal(got, weights)


def test_weights_of_unknown_length_go_with_their_rows() -> None:
    x, weights = da.from_array(values_of(0, 50), chunks=20), da.linspace(0.0, 2.0, 50, chunks=20)
    keep = x[:, 0] > 0
    source = collection_source(x[keep], weights=weights[keep])
    got = np.concatenate([source.load(atom).weight for atom in source.atoms()])
    np.testing.assert_array_equal(got, weights[keep].compute())
    assert [atom.rows for atom in source.atoms()] == [None] * 3


def test_a_series_may_hold_the_weights() -> None:
    frame = dd.from_pandas(TABLE, npartitions=3)
    source = collection_source(frame, columns=["a"], weights=frame["b"] * 2.0)
    got = np.concatenate([source.load(atom).weight for atom in source.atoms()])
    np.testing.assert_array_equal(got, TABLE["b"] * 2.0)


def test_nullable_columns_become_nan() -> None:
    table = pd.DataFrame({"a": pd.array([1, None, 3], "Int64"), "b": pd.array([True, False, True])})
    source = collection_source(dd.from_pandas(table, npartitions=1))
    assert source.schema.dtype == np.float64
    np.testing.assert_array_equal(values_in(source), [[1, 1], [np.nan, 0], [3, 1]])


def test_partitions_without_rows_are_fine(client: Client) -> None:
    frame = dd.from_pandas(TABLE[["a", "b"]], npartitions=3)
    source = collection_source(frame[frame["a"] > 5])
    atoms = counted(source)
    assert [atom.rows for atom in atoms] == [0, 1, 3]
    layout = layout_of(source, 2, atoms=atoms)
    with DaskReducer(layout, client) as reducer:
        assert reducer.total(sums).members[0].count == Serial(layout).total(sums).members[0].count == 4


@pytest.mark.parametrize("on_cluster", [False, True])
@pytest.mark.parametrize("persist", [False, True])
def test_unknown_rows_are_counted_in_one_read(on_cluster: bool, persist: bool, default_client: Client) -> None:
    x = da.from_array(values_of(0, 500), chunks=(90, 3))
    some = x[x[:, 0] > 0]
    source = collection_source(some.persist() if persist else some)
    atoms = counted(source, default_client if on_cluster else None)
    values = values_of(0, 500)
    assert [atom.rows for atom in atoms] == [int((values[i : i + 90, 0] > 0).sum()) for i in range(0, 500, 90)]
    assert [atom.nbytes for atom in atoms] == [24 * (atom.rows or 0) for atom in atoms]


def test_known_rows_are_not_counted() -> None:
    source = Seeded(3)
    assert counted(source) == source.atoms()


def test_what_is_persisted_is_neither_computed_nor_sent_again(default_client: Client) -> None:
    made = default_client.submit(values_of, 0, 400)
    x = da.from_delayed(made, shape=(400, 3), dtype=float).persist()
    layout = layout_of(collection_source(x), 4)
    with DaskReducer(layout, default_client) as reducer:
        assert reducer.total(sums).members[0].count == 400
        assert not [key for key in reducer._resident._kept if "load" in key]


def broken(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if block[0, 0] == 20:
        raise OSError("no such tape")
    return block


def test_a_chunk_that_cannot_be_computed_is_named(client: Client) -> None:
    x = da.arange(50, chunks=10)[:, None].map_blocks(broken, dtype=int, meta=np.empty((0, 0), int))
    layout = layout_of(collection_source(x))
    with DaskReducer(layout, client) as reducer:
        for either in (Serial(layout), reducer):
            with pytest.raises(DataError, match="chunk 2 of the dask array could not be computed: no such tape"):
                either.total(sums)


def test_masked_values_are_refused() -> None:
    x = da.ma.masked_greater(da.from_array(values_of(0, 10)), 1)
    source = collection_source(x)
    with pytest.raises(DataError, match=r"chunk 0 of the dask array cannot be used: .*da\.ma\.filled"):
        source.load(source.atoms()[0])


def test_chunks_that_need_all_others_are_refused() -> None:
    x = da.from_array(values_of(0, 1000), chunks=(20, -1))
    with pytest.raises(InputError, match=r"chunks of the dask array need each other.*X\.persist\(\)"):
        collection_source(x - x.mean(axis=0))
    assert len(collection_source(x - x.mean(axis=0).compute()).atoms()) == 50


FRAME = dd.from_pandas(TABLE, npartitions=2)
ARRAY = da.ones((10, 3), chunks=5)


@pytest.mark.parametrize(
    ("collection", "options", "sentence"),
    [
        (FRAME, {}, "column 'name' is of type .*, which is not numeric"),
        (FRAME, {"columns": ["a", "bb"]}, "no column 'bb'. Did you mean 'b'"),
        (FRAME, {"columns": ["a"], "weights": "name"}, "column 'name' is of type .*, which is not numeric"),
        (FRAME, {"columns": ["a"], "weights": np.ones(10)}, "weights of a dask dataframe are"),
        (FRAME, {"columns": ["a"], "feature_axis": 0}, "feature_axis belongs to arrays"),
        (FRAME, {"columns": []}, "has no columns"),
        (ARRAY, {"columns": ["a"]}, "slice the array instead"),
        (ARRAY, {"feature_axis": 2}, "feature_axis=2 is no axis"),
        (ARRAY, {"weights": np.ones(9)}, r"weights of shape \(9,\) do not fit 10 rows"),
        (ARRAY[ARRAY[:, 0] > 0], {"weights": np.ones(10)}, "make them one"),
        (ARRAY.sum(), {}, "has no axes"),
        (ARRAY[:, ARRAY[0] > 0], {}, "only the number of rows may be unknown"),
        (ARRAY.astype(str), {}, "not numeric"),
        (np.ones((3, 3)), {}, "ndarray is no dask array or dataframe"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(collection: Any, options: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        collection_source(collection, **options)


def test_collections_are_told_from_other_things() -> None:
    assert [is_collection(x) for x in (FRAME, FRAME["a"], ARRAY, np.ones(3), TABLE, None, "x.zarr")] == [True] * 3 + [
        False
    ] * 4


def test_labels_that_are_no_strings_are_positions_alone() -> None:
    table = pd.DataFrame({3: np.arange(10.0), "a": np.arange(10) * 2.0, "w": np.ones(10)})
    source = collection_source(dd.from_pandas(table, npartitions=2), weights="w")
    assert source.schema.names is None
    np.testing.assert_array_equal(values_in(source), table[[3, "a"]])
    with pytest.raises(InputError, match=r"column 1 is of type .*, which is not numeric; give the numeric"):
        collection_source(dd.from_pandas(pd.DataFrame({0: [1.0], 1: ["x"]}), npartitions=1))


def test_an_array_that_cannot_be_rows_and_columns_is_refused_with_a_remedy() -> None:
    x = da.from_array(values_of(0, 20, 4), chunks=(10, 2))
    with pytest.raises(InputError, match=r"has 3 axes; .* X.reshape\(-1, X.shape\[-1\]\)"):
        collection_source(da.ones((4, 5, 2)))
    with pytest.raises(InputError, match="only the number of rows may be unknown"):
        collection_source(x[:, da.from_array(np.array([True, False, True, True]), chunks=2)])
    with pytest.raises(InputError, match="a dask array has no named columns, so no weights 'w'; give an array"):
        collection_source(x, weights="w")
