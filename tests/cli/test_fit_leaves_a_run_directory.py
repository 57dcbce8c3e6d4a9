import csv
import re
import shlex
from pathlib import Path

import numpy as np
import zarr

from dask_em import load
from dask_em.config import load_config


def test_that_holds_the_model_and_all_that_led_to_it(run):
    assert {path.name for path in run.iterdir()} == {
        "checkpoints",
        "config.yaml",
        "model.npz",
        "history.csv",
        "log_likelihood.png",
        "fit.log",
    }
    model = load(run / "model.npz")
    assert model.converged_
    np.testing.assert_allclose(sorted(model.weights_), [0.3, 0.7], atol=1e-3)
    assert (run / "log_likelihood.png").read_bytes().startswith(b"\x89PNG")


def test_whose_history_is_a_table_of_the_passes(run):
    with (run / "history.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    model = load(run / "model.npz")
    assert [line["pass"] for line in lines] == [str(number) for number in range(1, model.n_iter_ + 1)]
    assert [float(line["log_likelihood_nats_per_row"]) for line in lines] == [
        entry.log_likelihood for entry in model.history_
    ]
    assert {line["restart"] for line in lines} == {"1"}
    assert [line["outcome"] for line in lines[:-1]] == [""] * (len(lines) - 1)
    assert lines[-1]["outcome"] == model.outcome_.sentence


def test_whose_config_fits_the_same_model_from_anywhere(run, call, folder, monkeypatch):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load_config(run / "config.yaml").data.source == str(folder / "rows.npy")
    assert call(["fit", str(run / "config.yaml"), "--set", "output.directory=again"]).exit_code == 0
    assert load("again/model.npz").means_.tobytes() == load(run / "model.npz").means_.tobytes()


def test_whose_log_tells_each_pass(run):
    told = (run / "fit.log").read_text()
    assert len(re.findall(r"pass +\d+ +objective", told)) == load(run / "model.npz").n_iter_
    assert "A mixture of 2 components" in told


def test_and_tells_each_pass_on_a_plain_line(call):
    done = call(["fit", "config.yaml"])
    passes = re.findall(
        r"^pass +(\d+)  objective +(-[\d.]+) nats/row  change .*rows/s .*GB/s  ETA .*$", done.stderr, re.MULTILINE
    )
    assert [int(number) for number, _ in passes] == list(range(1, len(passes) + 1))
    assert done.stderr.count("\n") == len(passes)
    assert "\x1b" not in done.stderr


def test_and_ends_with_a_summary_and_a_line_to_type_that_works(call):
    done = call(["fit", "config.yaml"])
    assert "A mixture of 2 components (gaussian, diag covariance) of 1,000 rows of 2 columns." in done.stdout
    assert "Shares of the rows: 70.0 %, 30.0 %." in done.stdout
    *_, last = done.stdout.strip().splitlines()
    start, _, command = last.partition(" predict ")
    assert start.startswith("next: ")
    assert call(["predict", *shlex.split(command)]).exit_code == 0
    assert zarr.open_array("labels.zarr").shape == (1000,)


def test_and_shows_restarts_apart(call):
    done = call(["fit", "config.yaml", "--set", "fit.restarts=2", "--set", "fit.start=random"])
    assert "restart  1" in done.stderr
    assert "restart  2" in done.stderr


def test_and_moves_a_finished_run_aside(run, call):
    before = (run / "model.npz").read_bytes()
    done = call(["fit", "config.yaml"])
    assert done.exit_code == 0
    assert "the finished run that was in runs/two is now in runs/two.1" in done.stderr
    assert Path("runs/two.1/model.npz").read_bytes() == before
    assert call(["fit", "config.yaml"]).exit_code == 0
    assert Path("runs/two.2/model.npz").exists()


def test_and_replaces_what_a_run_left_that_reached_nothing(run, call):
    (run / "model.npz").unlink()
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    (run / "history.csv").write_text("old")
    assert call(["fit", "config.yaml"]).exit_code == 0
    assert "old" not in (run / "history.csv").read_text()
    assert not Path("runs/two.1").exists()


def test_but_touches_no_folder_that_is_no_run(call):
    Path("runs/two").mkdir(parents=True)
    Path("runs/two/thesis.tex").write_text("precious")
    done = call(["fit", "config.yaml"])
    assert done.exit_code == 2
    assert "output.directory runs/two holds thesis.tex, which is no part of a run; name another folder" in done.stderr
    assert [path.name for path in Path("runs/two").iterdir()] == ["thesis.tex"]


def test_but_says_so_where_none_can_be_made(call):
    Path("runs").write_text("a file")
    done = call(["fit", "config.yaml"])
    assert done.exit_code == 2
    assert "output.directory runs/two cannot be written: " in done.stderr


def test_and_leaves_a_finished_run_alone_when_the_input_is_wrong(run, call):
    assert call(["fit", "config.yaml", "--set", "data.source=none.npy"]).exit_code == 2
    assert (run / "model.npz").exists()
