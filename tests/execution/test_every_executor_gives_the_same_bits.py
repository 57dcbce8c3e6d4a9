from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import zarr
from distributed import Client

from dask_em._record import digest
from dask_em.execution import Threads, open_reducer
from dask_em.execution.collections import collection_source
from dask_em.execution.counting import counted
from dask_em.execution.dask_reducer import DaskReducer
from dask_em.reduction import Serial, merge, total_of_blocks
from dask_em.storage import open_source
from dask_em.storage.blocks import Reader
from dask_em.storage.source import Source
from dask_em.storage.weighted import Weighted
from tests.execution.cases import Folder, Memory, Seeded, doubled, layout_of, sums, values_of

ROWS = 770


def same_everywhere(source: Source, client: Client) -> str:
    layout = layout_of(source, atoms=counted(source, client))
    expected = digest(Serial(layout).total(sums))
    for threads in (1, 3):
        assert digest(Threads(layout, threads).total(sums)) == expected
    with DaskReducer(layout, client) as reducer:
        assert digest(reducer.total(sums)) == expected
        assert digest(reducer.total(sums)) == expected
    return expected


def test_the_order_of_these_sums_shows_in_their_bits() -> None:
    layout = layout_of(Memory(values_of(0, ROWS)))
    values = [total_of_blocks(sums, Reader(layout.source, layout.slab_rows), [block]) for block in layout.blocks]
    assert digest(merge(values)) != digest(merge(values[::-1]))


def test_rows_in_memory(client: Client) -> None:
    same_everywhere(Memory(values_of(0, ROWS)), client)


def test_rows_in_memory_too_large_to_travel_often(client: Client) -> None:
    same_everywhere(Memory(values_of(0, 20_000, 5), atom_rows=6_000), client)


def test_rows_at_rest(client: Client) -> None:
    same_everywhere(Seeded(11), client)


def test_a_source_too_large_to_travel_often(client: Client) -> None:
    assert same_everywhere(Seeded(11, padding=20_000), client) == same_everywhere(Seeded(11), client)


def plain(x: Any) -> Any:
    return da.from_array(x, chunks=(100, -1))


def uneven(x: Any) -> Any:
    return da.from_array(x, chunks=((1, 400, 7, 361, 1), 3))


def split_features(x: Any) -> Any:
    return da.from_array(x, chunks=(150, (2, 1)))


def lazy(x: Any) -> Any:
    return (da.from_array(x, chunks=(100, -1)) * 1.5).rechunk((130, 3))


def empty_chunks(x: Any) -> Any:
    return da.concatenate([da.from_array(x[:0]), da.from_array(x[:500]), da.from_array(x[:0]), da.from_array(x[500:])])


def unknown(x: Any) -> Any:
    array = da.from_array(x, chunks=(100, -1))
    return array[array[:, 0] > -0.5]


def unknown_and_split(x: Any) -> Any:
    array = da.from_array(x, chunks=(100, (2, 1)))
    return array[da.from_array(x[:, 0] > -0.5, chunks=100)]


def persisted(x: Any) -> Any:
    return plain(x).persist()


def lazy_over_persisted(x: Any) -> Any:
    return persisted(x) * 1.5 + 1


def persisted_unknown(x: Any) -> Any:
    return unknown(x).persist()


ARRAYS = [plain, uneven, split_features, lazy, empty_chunks, unknown, unknown_and_split, persisted, lazy_over_persisted]


@pytest.mark.parametrize("make", [*ARRAYS, persisted_unknown])
def test_dask_arrays(make: Any, default_client: Client) -> None:
    x = make(values_of(0, ROWS))
    source = collection_source(x)
    got = np.concatenate([source.load(atom).values for atom in source.atoms()])
    np.testing.assert_array_equal(got, x.compute())
    same_everywhere(source, default_client)


@pytest.mark.parametrize("persist", [False, True])
def test_dask_dataframes(persist: bool, default_client: Client) -> None:
    table = pd.DataFrame(values_of(0, ROWS), columns=["a", "b", "c"]).assign(n=np.arange(ROWS), w=0.5)
    frame = dd.from_pandas(table, npartitions=5)
    source = collection_source(frame.persist() if persist else frame, columns=["c", "n", "a"], weights="w")
    got = [source.load(atom) for atom in source.atoms()]
    np.testing.assert_array_equal(np.concatenate([rows.values for rows in got]), table[["c", "n", "a"]])
    assert set(np.concatenate([rows.weight for rows in got])) == {0.5}
    same_everywhere(source, default_client)


def test_weights_beside_a_persisted_array(default_client: Client) -> None:
    source = Weighted(collection_source(persisted(values_of(0, ROWS))), np.linspace(0.0, 1.0, ROWS))
    same_everywhere(source, default_client)


def test_weights_beside_rows_in_memory_or_at_rest(tmp_path: Path, client: Client) -> None:
    values, weights = values_of(0, ROWS), np.linspace(0.0, 1.0, ROWS)
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    group.create_array("x", data=values, chunks=(100, 3))
    group.create_array("w", data=weights, chunks=(130,))
    sources = [open_source(values, weights=weights), open_source(tmp_path / "g.zarr", array="x", weights="w")]
    assert len({same_everywhere(source, client) for source in sources}) == 1


def test_results_of_rows_are_written_alike(tmp_path: Path, client: Client) -> None:
    layout = layout_of(Memory(values_of(0, ROWS)))
    with DaskReducer(layout, client) as dask:
        for name, reducer in (("serial", Serial(layout)), ("threads", Threads(layout, 2)), ("dask", dask)):
            manifest = reducer.write(doubled, Folder(tmp_path / name))
            assert manifest.rows == ROWS
            assert (tmp_path / name / "done").read_text().split() == list(manifest.parts)
            got = np.concatenate([np.load(tmp_path / name / part) for part in manifest.parts])
            np.testing.assert_array_equal(got, 2 * values_of(0, ROWS)[:, 0])


def test_the_executor_is_chosen_by_what_there_is(client: Client) -> None:
    layout = layout_of(Memory(values_of(0, ROWS)))
    kinds = []
    for chosen in ({"client": client}, {"threads": 1}, {"threads": 2}):
        with open_reducer(layout, **chosen) as reducer:
            kinds.append(type(reducer))
            assert reducer.layout is layout
    assert kinds == [DaskReducer, Serial, Threads]
