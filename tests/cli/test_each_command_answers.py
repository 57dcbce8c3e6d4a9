import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from dask_em import load
from dask_em.config import json_schema


def test_plan_with_what_a_pass_costs(call):
    told = call(["plan", "config.yaml"]).stdout
    assert "1,000 rows of 2 columns (float64)" in told
    assert "one pass reads" in told
    assert "Memory: at most" in told


def test_plan_tells_whether_all_workers_find_work(call):
    def told(workers):
        few = ("--set", "cluster.kind=local", "--set", f"cluster.workers={workers}")
        return call(["plan", "config.yaml", "--no-trial", *few]).stdout

    assert "\nWorkers: 1, with 1 thread in all.\n" in told(1)
    (blocks,) = re.findall(r", (\d+) of them read and compute", told(50))
    assert f"Workers: 50, with 50 threads in all, but {blocks} block" in told(50)
    assert f": {50 - int(blocks)} threads would wait. Ask for fewer." in told(50)
    assert "Workers" not in call(["plan", "config.yaml", "--no-trial"]).stdout


def test_inspect_with_rows_columns_and_units(call):
    lines = dict(line.split(maxsplit=1) for line in call(["inspect", "rows.npy"]).stdout.splitlines())
    assert lines["rows"] == "1,000"
    assert lines["columns"] == "2 of type float64"
    assert lines["units"].endswith("15.6 KiB once decoded")


def test_inspect_with_what_a_config_names(call):
    assert call(["inspect", "config.yaml"]).stdout == call(["inspect", "rows.npy"]).stdout


@pytest.mark.parametrize(
    ("what", "method", "shape"),
    [
        ("labels", "predict", (1000,)),
        ("responsibilities", "predict_proba", (1000, 2)),
        ("log_density", "score_samples", (1000,)),
    ],
)
def test_predict_with_what_the_model_says_of_each_row(run, call, what, method, shape):
    done = call(["predict", str(run), "rows.npy", "--out", "said.zarr", "--what", what])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{what} of 1,000 rows (")
    said = zarr.open_array("said.zarr")[:]
    assert said.shape == shape
    np.testing.assert_array_equal(said, getattr(load(run / "model.npz"), method)(np.load("rows.npy")))


def test_predict_with_parquet_too(run, call):
    assert call(["predict", str(run / "model.npz"), "config.yaml", "--out", "said.parquet"]).exit_code == 0
    table = pq.read_table("said.parquet")
    np.testing.assert_array_equal(table["label"], load(run / "model.npz").predict(np.load("rows.npy")))


def test_predict_with_no_to_a_destination_that_exists(run, call):
    Path("said.zarr").mkdir()
    done = call(["predict", str(run), "rows.npy", "--out", "said.zarr"])
    assert done.exit_code == 2
    assert "said.zarr exists already" in done.stderr


def test_score_with_nats_per_row(run, call):
    number, unit = call(["score", str(run), "rows.npy"]).stdout.split(maxsplit=1)
    assert unit == "nats per row\n"
    assert float(number) == pytest.approx(load(run / "model.npz").score(np.load("rows.npy")), abs=1e-9)


def test_sample_with_rows_like_those_it_was_fitted_to(run, call):
    for name in ("a.zarr", "b.zarr"):
        assert call(["sample", str(run), "70000", "--out", name]).exit_code == 0
    assert call(["sample", str(run), "70000", "--out", "c.zarr", "--seed", "1"]).exit_code == 0
    a, b, c = (zarr.open_array(name)[:] for name in ("a.zarr", "b.zarr", "c.zarr"))
    np.testing.assert_array_equal(a, b)
    assert (a != c).all()
    assert len(np.unique(a, axis=0)) == 70000, "each batch draws its own rows"
    rows = np.load("rows.npy")
    np.testing.assert_allclose(a.mean(0), rows.mean(0), atol=0.05)
    np.testing.assert_allclose(np.cov(a.T), np.cov(rows.T), rtol=0.03)


def test_show_with_a_summary(run, call):
    for place in (run, run / "model.npz"):
        told = call(["show", str(place)]).stdout
        assert told.startswith("A mixture of 2 components (gaussian, diag covariance) of 1,000 rows of 2 columns.\n")
        assert load(run / "model.npz").outcome_.sentence in told


def test_show_with_all_rows_of_a_model_that_was_updated(run, call):
    load(run / "model.npz").partial_fit(np.load("rows.npy")[:200]).save("updated.npz")
    told = call(["show", "updated.npz"]).stdout
    assert "of 1,200 rows of 2 columns.\nUpdated with 200 rows, whose sums were added to those of the 1,000" in told
    assert "BIC" not in told


def test_schema_with_the_schema_of_configs(call):
    assert json.loads(call(["schema"]).stdout) == json.loads(json_schema())


def test_help_with_every_command(call):
    told = call(["--help"]).stdout
    for command in ("fit", "plan", "inspect", "predict", "score", "sample", "show", "schema"):
        assert f" {command} " in told
        assert call([command, "--help"]).exit_code == 0
