"""Serial, threads, and a cluster of two processes: one digest, for every family and for a whole fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from distributed import Client

from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.estimators import foreseeing
from dask_em.estimators.reading import HERE, planned
from dask_em.execution import DaskReducer, Threads, single_threaded_blas
from dask_em.execution.cluster import ClusterSettings, connect
from dask_em.kernel import summarize
from dask_em.plan import ModelSize, plan
from dask_em.reduction import ARITY, Serial
from dask_em.storage import open_source
from dask_em.testing import Case
from tests.families import CASES
from tests.reading import Logged, loads, workers_here


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_statistics_of_every_family(case: Case, client: Client) -> None:
    rows = case.rows(300_000)
    source = open_source(rows.values, weights=rows.weight, rows_per_atom=7_000)
    layout = plan(source, source.atoms(), ModelSize(case.components, 20_000)).layout
    assert len(layout.blocks) > 8, "a tree of one level would show little"
    frame, params = case.begin(rows)
    kernel = partial(summarize, (case.model.prepare(params, frame),), layout.tile_rows)
    with single_threaded_blas():
        serial = digest(Serial(layout).total(kernel))
        threaded = digest(Threads(layout, 2).total(kernel))
    with DaskReducer(layout, client) as reducer:
        assert serial == threaded == digest(reducer.total(kernel))


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_a_whole_fit(covariance_type: str, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreseeing, "MANY", 100_000)
    random = np.random.default_rng(0)
    rows = random.standard_normal((120_000, 6)) + 2 * random.integers(3, size=(120_000, 1))
    path = tmp_path / "rows.zarr"
    zarr.create_array(path, data=rows.astype(np.float32), chunks=(4_000, 6))
    model = GaussianMixture(3, covariance_type=covariance_type, tol=0.0, max_iter=5, n_init=2, random_state=0)
    digests = []
    for where in (None, client):
        foreseen = [it.state.foresight.tried for it in model.iterate(path, client=where) if it.state.foresight]
        assert any(foreseen), "a sample that has no say would show little"
        digests.append((digest(model._fitted.params), model.lower_bounds_, digest(model._fitted.frame)))
    assert digests[0] == digests[1]


# One fit over one set of rows and cuts, wherever it is computed, whatever stays in memory, and however long reads take.
ROWS, COLUMNS, ATOM = 24_000, 3, 1_000
NBYTES = ROWS * (COLUMNS * 8 + 8)
RESIDENT = {"streamed": 0, "half": NBYTES // 2, "resident": NBYTES}
READS = {"streamed": {4}, "half": {1, 4}, "resident": {1}}  # of each atom, in three passes and the one before them


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("stores")
    random = np.random.default_rng(1)
    rows = random.standard_normal((ROWS, COLUMNS)) * [1, 1e3, 1e-3] + 4 * random.integers(3, size=(ROWS, 1))
    zarr.create_array(folder / "plain.zarr", data=rows, chunks=(ATOM, COLUMNS))
    zarr.create_array(folder / "sharded.zarr", data=rows, chunks=(ATOM // 4, COLUMNS), shards=(ATOM, COLUMNS))
    table = pa.table({f"x{i}": rows[:, i] for i in range(COLUMNS)})
    pq.write_table(table, folder / "rows.parquet", row_group_size=ATOM)
    return {
        "numpy": open_source(rows, rows_per_atom=ATOM),
        "zarr": open_source(folder / "plain.zarr"),
        "sharded": open_source(folder / "sharded.zarr"),
        "parquet": open_source(folder / "rows.parquet"),
    }


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan twelve blocks of three slabs each, which end within atoms."""
    monkeypatch.setattr("dask_em.plan.BLOCK_ROWS", ROWS // 12)
    monkeypatch.setattr("dask_em.plan.BLOCK_PAYS", 1e-9)
    monkeypatch.setattr("dask_em.plan.TILE_MOST", 768)
    monkeypatch.setattr("dask_em.plan.SLAB_BYTES", 0)


@contextmanager
def executor(name: str) -> Iterator[Any]:
    """Give what ``client`` of a fit is: 2x1 are two workers of one thread each."""
    if name in {"serial", "threads"}:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dask_em.execution.cores", lambda: 1 if name == "serial" else 3)
            patch.setattr("dask_em.execution.threads.cores", lambda: 3)
            yield HERE
    elif name == "in this process":
        with workers_here() as client:
            yield client
    else:
        workers, threads = map(int, name.split("x"))
        settings = ClusterSettings("local", workers, threads, memory_limit="1GiB")
        with connect(settings) as client:
            yield client


def fitted(source: Any, resident: int, client: Any, log: Path) -> tuple[Any, ...]:
    model = GaussianMixture(3, tol=0.0, max_iter=3, init_params="random_from_data", random_state=0)
    with dask.config.set({"dask_em.resident": resident}):
        for _ in model.iterate(Logged(source, log, delay=0.002), client=client):
            pass
    return digest(model._fitted.params), digest(model._fitted.frame), *model.lower_bounds_


def same_over(names: Sequence[str], where: Any, stores: dict[str, Any], folder: Path) -> None:
    with executor("serial") as here:
        expected = fitted(stores["numpy"], 0, here, folder / "log")
    for name in names:
        for residency, nbytes in RESIDENT.items():
            log = folder / f"{name}-{residency}"
            assert fitted(stores[name], nbytes, where, log) == expected, (name, residency)
            if name != "numpy":  # which is in memory anyway
                counts = loads(log) - Counter([stores[name].atoms()[0].place])  # looked at once before all passes
                assert set(counts.values()) == READS[residency]


@pytest.mark.usefixtures("small_blocks")
class TestOneFitOverOneSetOfRows:
    def test_the_plan_is_one_of_several_levels(self, stores: dict[str, Any]) -> None:
        plans = [planned(source, ModelSize(3, 10), HERE) for source in stores.values()]
        assert len({plan.digest for plan in plans}) == 1
        assert len(plans[0].layout.blocks) == 12 > ARITY
        assert plans[0].layout.slab_rows < plans[0].layout.blocks[0].rows
        assert plans[0].layout.blocks[0].rows % plans[0].layout.slab_rows

    @pytest.mark.parametrize("name", ["serial", "threads", "in this process"])
    def test_here(self, name: str, stores: dict[str, Any], tmp_path: Path) -> None:
        with executor(name) as where:
            same_over(["zarr", "parquet"], where, stores, tmp_path)

    def test_on_two_workers(self, stores: dict[str, Any], client: Client, tmp_path: Path) -> None:
        same_over(["zarr", "parquet"], client, stores, tmp_path)

    @pytest.mark.slow
    @pytest.mark.clusters
    @pytest.mark.parametrize("name", ["serial", "threads", "in this process", "1x1", "2x1", "1x2", "4x1"])
    def test_on_clusters_of_every_shape(self, name: str, stores: dict[str, Any], tmp_path: Path) -> None:
        with executor(name) as where:
            same_over(list(stores), where, stores, tmp_path)
