import json
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from dask_em import load
from dask_em.execution import cluster

JSON = ("--set", "output.log=json")
REPORT = ("--set", "output.performance_report=true")
LOCAL = ("--set", "cluster.kind=local", "--set", "cluster.workers=1")


def lines(path="runs/two/fit.log"):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_as_an_object_a_line(call):
    assert call(["fit", "config.yaml", *JSON]).exit_code == 0
    told = lines()
    for line in told:
        assert set(line) >= {"time", "level", "logger", "message"}
        assert datetime.fromisoformat(line["time"]).tzinfo is not None
    assert told[0]["event"] == "begin"
    assert told[-1]["message"].startswith("done")
    passes = [line for line in told if line.get("event") == "pass"]
    assert [line["pass"] for line in passes] == list(range(1, load("runs/two/model.npz").n_iter_ + 1))
    assert {(line["restart"], line["level"], line["logger"]) for line in passes} == {(1, "INFO", "dask_em")}
    assert all("nats/row" in line["message"] for line in passes)


def test_with_restarts_apart(call):
    options = ("--set", "fit.restarts=2", "--set", "fit.start=random", "--set", "fit.max_passes=3")
    assert call(["fit", "config.yaml", *JSON, *options]).exit_code == 0
    assert {line["restart"] for line in lines() if line.get("event") == "pass"} == {1, 2}


def test_where_the_rows_are_wrong_too(call):
    np.save("rows.npy", np.full((50, 2), np.nan))
    assert call(["fit", "config.yaml", *JSON]).exit_code == 2
    (error,) = (line for line in lines() if line["level"] == "ERROR")
    assert error["message"].startswith("NaN in column 0")


def test_but_is_for_people_where_nobody_asked(run):
    with pytest.raises(json.JSONDecodeError):
        lines()


@pytest.mark.clusters
def test_and_the_clusters_own_account_is_a_page(call):
    done = call(["fit", "config.yaml", *REPORT, *LOCAL])
    assert done.exit_code == 0, done.output
    page = Path("runs/two/performance.html").read_text()
    assert "</html>" in page
    assert "est-" in page, "the tasks of a pass are in it"


@pytest.mark.clusters
def test_or_a_sentence_where_nothing_can_draw_it(call, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    done = call(["fit", "config.yaml", *REPORT, *LOCAL])
    assert done.exit_code == 2
    assert f"the performance report is drawn by bokeh, which is not installed: {sys.executable} -m pip" in done.stderr


def test_or_where_there_is_no_cluster(call):
    done = call(["fit", "config.yaml", *REPORT])
    assert done.exit_code == 2
    assert (
        "output.performance_report is a Dask cluster's own account, and cluster.kind is threads; write" in done.stderr
    )
    assert not Path("runs/two").exists()
