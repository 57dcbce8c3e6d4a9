from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from distributed import Client

import dask_em
from dask_em import GaussianMixture
from dask_em.driver import Checkpoints
from dask_em.errors import InputError
from dask_em.estimators.planning import forecast
from dask_em.execution.cluster import ClusterSettings, connect
from dask_em.execution.resident import LEAST_MEMORY, PAUSES
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Serial
from dask_em.rows import Rows
from dask_em.storage.source import Atom
from tests.sources import Chunks

ROWS = np.random.default_rng(0).normal(size=(3000, 4))
HUGE = 10_000_000  # rows


class Counted(Chunks):
    """Notes the bytes that are read."""

    read = 0

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        type(self).read += atom.nbytes
        return super().load(atom, rows)


def weight(rows: Rows) -> float:
    return float(rows.weight.sum())


def test_in_sentences_that_a_person_can_read() -> None:
    told = str(GaussianMixture(3).plan(ROWS))
    for sentence in (
        r"Data: array: 3,000 rows of 4 columns \(float64\) in 1 storage unit\.",
        r"Reading: one pass reads 93\.8 KiB in 1 block of about 3,000 rows\.",
        r"Tasks: at most 1 a pass, 1 of them read and compute, the others add up\.",
        r"Work: 0\.0 GFLOP a pass, in tiles of \S+ rows \(mean-centred form, 15 features a row\)\.",
        r"Statistics: 360 bytes of sums from each block\.",
        r"Memory: at most \S+ MiB for each worker thread, beside the interpreter and libraries\.",
        r"Digest: [0-9a-f]{16}; plans of one digest take all sums in the same order\.",
    ):
        assert re.search(f"^{sentence}$", told, re.MULTILINE), sentence


def test_as_the_fit_then_does_it(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "rows.zarr"), data=ROWS, chunks=(250, 4))
    model, told = GaussianMixture(3, max_iter=2, tol=0), GaussianMixture(3).plan(str(tmp_path / "rows.zarr"))
    entries = [it.entry for it in model.iterate(str(tmp_path / "rows.zarr"), checkpoints=tmp_path / "run")]
    assert [entry.bytes_read for entry in entries] == [told.bytes_per_pass] * 2
    saved = Checkpoints(tmp_path / "run").newest()
    assert saved is not None
    assert saved.plan == told.digest
    assert isinstance(told, dask_em.Plan)
    assert len(repr(told)) < 200, "a block is not told one by one"


def test_which_blocks_stay_in_memory() -> None:
    chunks = Counted(np.zeros((64 * 2048, 4)), (2048,) * 64)
    told = plan(chunks, chunks.atoms(), ModelSize(4, 21))
    row, blocks = 8 * 4 + 8, len(told.layout.blocks)
    for share, sentence in ((0.0, "no block stays in memory"), (0.25, f"{blocks // 4} of the"), (1.0, "all blocks")):
        keep = len(chunks.values) * row * share
        reducer = Serial(told.layout, keep)
        reducer.total(weight)
        Counted.read = 0
        reducer.total(weight)
        left = re.search(r"later passes read (\S+) MiB", told.residence(keep))
        assert sentence in told.residence(keep)
        assert float(left[1]) * 2**20 == Counted.read if left else Counted.read in {0, told.bytes_per_pass}
    assert "as they are" in GaussianMixture(2).plan(ROWS).residence(1e9)


def test_how_long_it_takes_from_a_short_trial() -> None:
    mixture = GaussianMixture(3, n_init=2, warm_start=True)
    found = forecast(mixture.plan(ROWS), mixture)
    assert found.seconds(2000, 1) == 2 * found.seconds(2000, 2) > 0
    assert re.fullmatch(
        r"Time: about \S+ s a pass with 2 cores, from a short trial here: \S+ million rows a second on one core, "
        r"\d+ % of it reading\.",
        found.sentence(3000, 2),
    )
    assert not hasattr(mixture, "means_"), "the trial is another model's"


def test_of_rows_that_are_not_finite_only_where_they_are() -> None:
    broken = np.where(np.arange(3000)[:, None] == 7, np.nan, ROWS)
    mixture = GaussianMixture(3)
    with pytest.raises(InputError, match="NaN in column 0 at row 7 .* of the rows from 0 on of array"):
        forecast(mixture.plan(broken), mixture)


@pytest.fixture(scope="module")
def small() -> Iterator[Client]:
    """A worker of four threads that have 45 MB each."""
    with connect(ClusterSettings("local", workers=1, threads_per_worker=4, memory_limit="600MB")) as client:
        assert client is not None
        yield client


def huge(folder: Path, kind: str) -> str:
    """Rows whose storage unit fits no thread; of Zarr nothing but the metadata is there."""
    if kind == "zarr":
        zarr.create_array(str(folder / "huge.zarr"), shape=(HUGE, 4), chunks=(HUGE, 4), dtype="float64")
        return str(folder / "huge.zarr")
    table = pa.table({name: np.zeros(HUGE // 2, np.int16) for name in "abcd"})
    pq.write_table(table, folder / "huge.parquet", row_group_size=HUGE)
    return str(folder / "huge.parquet")


@pytest.mark.clusters
@pytest.mark.parametrize(("kind", "unit"), [("zarr", "chunk c/0/0 of"), ("parquet", "row group 0 of")])
def test_and_what_cannot_fit_is_refused_before_anything_is_read(
    small: Client, tmp_path: Path, kind: str, unit: str
) -> None:
    data = huge(tmp_path, kind)
    with pytest.raises(InputError, match=unit) as caught:
        list(GaussianMixture(2).iterate(data, client=small))
    told = str(caught.value)
    assert re.search(r"needs (\S+) [MG]iB for each worker thread, which has 42\.9 MiB beside what its process", told)
    assert "Give workers more memory or fewer threads, or store the data in smaller chunks" in told
    with pytest.raises(InputError, match="which has 42"):
        dask_em.spool(data, tmp_path / "spool.zarr", client=small)


def held(client: Client, name: str) -> int:
    """Return the bytes that the worker holds (VmRSS), or has held at most (VmHWM). It need not import this file."""
    (status,) = client.run(Path.read_text, Path("/proc/self/status")).values()
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", status)[1])  # type: ignore[index]


def repeated(path: Path, chunk: np.ndarray[Any, Any], times: int) -> str:
    """An array that holds a chunk many times: written once, linked under the others' names."""
    zarr.create_array(str(path), shape=(times * len(chunk), chunk.shape[1]), chunks=chunk.shape, dtype=chunk.dtype)
    zarr.open_array(str(path))[: len(chunk)] = chunk
    for number in range(1, times):
        (path / f"c/{number}").mkdir()
        os.link(path / "c/0/0", path / f"c/{number}/0")
    return str(path)


@pytest.mark.slow
@pytest.mark.clusters
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process is Linux's to tell")
@pytest.mark.parametrize(
    ("columns", "components", "dtype", "chunk_rows", "threads"),
    [
        (16, 16, "float32", 16_384, 1),
        (16, 16, "float32", 262_144, 1),
        (16, 16, "float32", 262_144, 2),
        (16, 16, "float32", 1_000_000, 1),
        (64, 32, "float64", 2_048, 1),
        (64, 32, "float64", 32_768, 1),
        (64, 32, "float64", 131_072, 1),
    ],
)
def test_and_the_smallest_worker_that_is_accepted_takes_less_but_not_much_less(
    tmp_path: Path, columns: int, components: int, dtype: str, chunk_rows: int, threads: int
) -> None:
    chunk = np.random.default_rng(0).normal(size=(chunk_rows, columns)).astype(dtype)
    few = repeated(tmp_path / "few.zarr", chunk[:2000], 2)
    many = repeated(tmp_path / "many.zarr", chunk, 1_300_000_000 // chunk.nbytes)
    model = GaussianMixture(components, max_iter=2, tol=0, init_params="random_from_data", random_state=0)
    promise = threads * model.plan(many).memory_bytes
    limit = int(1.01 * (LEAST_MEMORY + promise) / PAUSES)
    assert limit < model.plan(many).bytes_per_pass, "the rows do not fit"
    settings = ClusterSettings("local", 1, threads, memory_limit=f"{limit}B", resident="0B")
    with connect(settings) as client:
        assert client is not None
        list(model.iterate(few, client=client))  # loads what a worker needs
        client.run(Path.write_text, Path("/proc/self/clear_refs"), "5")  # begins to count anew
        before = held(client, "VmRSS")
        entries = [it.entry for it in model.iterate(many, client=client)]
        taken = held(client, "VmHWM") - before
    assert [entry.events for entry in entries] == [()] * 2
    assert taken <= promise
    assert promise <= 2 * taken or threads > 1, "threads need not hold the most at one time"
