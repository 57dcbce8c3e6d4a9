from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

ROOT = Path(__file__).parent.parent.parent
ALL = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))
FITTED_BY = {
    "address.yaml": "tests/cli/test_the_configs_run.py",
    "custom.yaml": "tests/cli/test_every_config_is_planned_and_fitted.py",
    "mpi.yaml": "tests/clusters/test_ranks_of_mpirun_take_their_parts.py",
    "parquet.yaml": "tests/cli/test_the_configs_run.py",
    "pbs.yaml": "tests/clusters/test_the_scripts_fit_on_job_queues.py",
    "quickstart.yaml": "tests/cli/test_the_configs_run.py",
    "s3.yaml": "tests/services/test_an_object_store_holds_rows_and_runs.py",
    "selection.yaml": "tests/cli/test_the_configs_run.py",
    "slurm-allocation.yaml": "tests/clusters/test_the_scripts_fit_on_job_queues.py",
    "slurm.yaml": "tests/clusters/test_the_scripts_fit_on_job_queues.py",
    "ssh.yaml": "tests/clusters/test_machines_are_reached_by_ssh.py",
}
NOWHERE_HERE = {
    "gateway.yaml": "a Dask Gateway needs a Kubernetes or a queue behind it",
    "kubernetes.yaml": "needs a Kubernetes with the Dask operator",
}


def test_and_none_is_forgotten():
    assert sorted([*FITTED_BY, *NOWHERE_HERE]) == ALL, "name the test that fits it, or say why none can here"
    for name, test in FITTED_BY.items():
        assert name in (ROOT / test).read_text(), f"{test} does not fit {name}"


@pytest.mark.parametrize("name", ALL)
def test_planned(call, name):
    rows = np.random.default_rng(0).normal(size=(400, 3))
    if name == "parquet.yaml":
        Path("measurements").mkdir()
        columns = dict(zip(["length", "width", "depth", "weight"], [*rows.T, np.ones(400)], strict=True))
        pq.write_table(pa.table(columns), "measurements/0.parquet")
    else:
        zarr.create_array("data.zarr", data=rows, chunks=(100, 3))
    source = [] if name == "parquet.yaml" else ["--set", "data.source=data.zarr"]
    done = call(["plan", str(ROOT / "configs" / name), "--no-trial", *source])
    assert done.exit_code == 0, done.output
    assert "400 rows of 3 columns" in done.stdout


@pytest.mark.clusters
def test_and_one_of_any_class_with_a_class_that_is_here(call):
    zarr.create_array("data.zarr", data=np.random.default_rng(0).normal(size=(400, 3)), chunks=(100, 3))
    here = "{processes: false, n_workers: 1, dashboard_address: '127.0.0.1:0'}"
    done = call(
        [
            *("fit", str(ROOT / "configs/custom.yaml"), "--set", "fit.max_passes=3", "--set", "model.components=2"),
            *("--set", "cluster.class=distributed:LocalCluster", "--set", "cluster.workers=1"),
            *("--set", f"cluster.kwargs={here}"),
        ]
    )
    assert done.exit_code == 0, done.output
    assert "A mixture of 2 components" in done.stdout
