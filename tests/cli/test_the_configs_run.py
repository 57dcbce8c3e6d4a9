from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from distributed import LocalCluster

from dask_em import load

CONFIGS = Path(__file__).parent.parent.parent / "configs"


@pytest.fixture
def shapes():
    """Three kinds of things, (900, 3), in an order that is no kind's."""
    random = np.random.default_rng(1)
    kinds = [random.normal(centre, 0.5, (300, 3)) for centre in ([0, 0, 0], [4, 0, 2], [0, 5, -3])]
    return random.permutation(np.concatenate(kinds))


def settings(*overrides):
    return [part for override in overrides for part in ("--set", override)]


def test_of_parquet_files_with_named_columns(call, shapes):
    Path("measurements").mkdir()
    for part, rows in enumerate(np.split(shapes, 3)):
        columns = dict(zip(["depth", "length", "width"], rows.T, strict=True))
        table = pa.table({"name": ["a thing"] * len(rows), **columns, "weight": np.full(len(rows), 0.5)})
        pq.write_table(table, f"measurements/{part}.parquet", row_group_size=70)
    done = call(["fit", str(CONFIGS / "parquet.yaml")])
    assert done.exit_code == 0, done.output
    assert "900 rows of 3 columns (length, width, depth)" in done.stdout
    model = load("runs/parquet/model.npz")
    assert model.feature_names_in_.tolist() == ["length", "width", "depth"]
    order = np.argsort(model.means_[:, 0] + 10 * model.means_[:, 1])
    np.testing.assert_allclose(model.means_[order], [[5, -3, 0], [0, 0, 0], [0, 2, 4]], atol=0.15)
    said = call(["predict", "runs/parquet", "measurements/*.parquet", "--out", "labels.parquet"])
    assert said.exit_code == 0, said.output
    assert np.bincount(pq.read_table("labels.parquet")["label"].to_numpy()).tolist() == [300, 300, 300]


def test_that_chooses_among_models(call, shapes):
    zarr.create_array("measurements.zarr", data=shapes, chunks=(100, 3))
    done = call(["fit", str(CONFIGS / "selection.yaml"), *settings("fit.select_by=bic")])  # 90 rows would say little
    assert done.exit_code == 0, done.output
    assert "Chosen by BIC of 12 models:\n * 3 components, diag" in done.stdout
    assert load("runs/selection/model.npz").n_components == 3


@pytest.mark.clusters
def test_on_a_scheduler_given_by_its_address(call, shapes):
    zarr.create_array("data.zarr", data=shapes, chunks=(100, 3))
    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",  # another cluster of this machine may have the usual one
    ) as cluster:
        there = settings("model.components=3", f"cluster.address={cluster.scheduler_address}")
        done = call(["fit", str(CONFIGS / "address.yaml"), *there])
    assert done.exit_code == 0, done.output
    here = settings("model.components=3", "cluster.kind=threads", "cluster.address=null", "output.directory=runs/here")
    done = call(["fit", str(CONFIGS / "address.yaml"), *here])
    assert done.exit_code == 0, done.output
    there, here = load("runs/address/model.npz"), load("runs/here/model.npz")
    assert there.means_.tobytes() == here.means_.tobytes(), "the same bits wherever it is computed"


def test_of_the_first_run_on_fewer_rows(call):
    rows = np.random.default_rng(2).normal(size=(600, 5))
    zarr.create_array("patches.zarr", data=rows.astype("float32"), chunks=(200, 5))
    few = settings("data.source=patches.zarr", "fit.max_passes=3", "cluster.kind=threads")
    done = call(["fit", str(CONFIGS / "quickstart.yaml"), *few])
    assert done.exit_code == 0, done.output
    assert "next: " in done.stdout
