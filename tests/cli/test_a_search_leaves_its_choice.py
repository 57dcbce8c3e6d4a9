"""``dask-em fit`` with several models in the config: the table, the winner, a picture; resumed to the same."""

import csv
import json
import re
from pathlib import Path

import pytest

from dask_em import load
from tests.cli.runs import told

GRID = ["--set", "model.components=[1, 2, 3]", "--set", "model.covariance=[diag, spherical]"]


@pytest.fixture
def searched(call, folder):
    done = call(["fit", "config.yaml", *GRID])
    assert done.exit_code == 0, done.output
    return folder / "runs/two", done.output


def test_in_the_run_directory(searched):
    run, output = searched
    assert {path.name for path in run.iterdir()} >= {"model.npz", "selection.csv", "selection.png", "history.csv"}
    with (run / "selection.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6
    (chosen,) = [line for line in lines if line["chosen"]]
    assert (chosen["n_components"], chosen["covariance_type"]) == ("2", "spherical")
    assert float(chosen["bic"]) == min(float(line["bic"]) for line in lines)
    assert load(run / "model.npz").n_components == 2
    assert "Chosen by BIC of 6 models:\n * 2 components, spherical" in output
    assert "the models that it was chosen from" in output
    assert (run / "selection.png").read_bytes().startswith(b"\x89PNG")


def test_with_each_models_passes_in_the_history(searched):
    run, _ = searched
    with (run / "history.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["model"] for line in lines} == {
        f"{k} component{'s' * (k > 1)}, {kind}" for k in (1, 2, 3) for kind in ("diag", "spherical")
    }
    assert "2 components, spherical" in (run / "fit.log").read_text()


def test_and_the_same_when_it_is_resumed(searched, call):
    run, _ = searched
    before, table = told(run), (run / "selection.csv").read_text()
    first = ["fit", "config.yaml", *GRID, "--set", "output.directory=runs/cut"]
    assert call([*first, "--set", "fit.max_passes=2"]).exit_code == 0
    done = call([*first, "--resume"])
    assert done.exit_code == 0, done.output
    assert told(Path("runs/cut"))[:3] == before[:3]
    assert (Path("runs/cut") / "selection.csv").read_text() == table


def test_and_rows_held_out_for_one_model_alone(call, folder):
    done = call(["fit", "config.yaml", "--set", "fit.holdout=0.2", "--set", "output.log=json"])
    assert done.exit_code == 0, done.output
    with (folder / "runs/two/selection.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert float(line["held_out"]) < 0
    events = [json.loads(each) for each in (folder / "runs/two/fit.log").read_text().splitlines()]
    assert {each["model"] for each in events if each.get("event") == "pass"} == {"2 components, diag"}


def test_after_a_plan_for_all_of_them(call):
    one, all_of_them = (call(["plan", "config.yaml", "--no-trial", *more]).output for more in ([], GRID))
    work = [float(re.search(r"Work: ([\d.,]+) GFLOP", text).group(1)) for text in (one, all_of_them)]
    assert work[1] >= 2 * work[0]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("model.components=[2, x]", "model.components.1 is 'x'; it must be a whole number"),
        ("model.components=[]", "model.components is []; it must be a list that names at least one"),
        ("model.covariance=[full, ful]", "model.covariance.1 is 'ful'; it must be 'full', 'tied', 'diag' or"),
        ("fit.holdout=1.0", "fit.holdout is 1.0; it must be less than 1"),
        ("fit.select_by=holdout", "select_by is holdout, but no rows are held out"),
    ],
)
def test_or_a_sentence_says_what_is_wrong(call, override, sentence):
    refused = call(["fit", "config.yaml", "--set", override])
    assert refused.exit_code == 2
    assert sentence in " ".join(refused.output.split())
