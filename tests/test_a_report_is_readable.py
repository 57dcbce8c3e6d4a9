import csv
import dataclasses

import numpy as np
import pytest
from PIL import Image

from dask_em.driver import Entry
from dask_em.report import (
    Contender,
    HistoryTable,
    Member,
    Selection,
    Summary,
    data_size,
    duration,
    log_likelihood_picture,
)

FIRST, SECOND = Member("2 components, full", 1), Member("2 components, full", 2)


def entries(count, end=-1.0):
    return [
        Entry(i, 1000, end - 2.0**-i, end - 2.0**-i, -2.0, 2.0**-i, 0.5, 30.0, 1.5, 16_000) for i in range(1, count + 1)
    ]


def inked(path, colour):
    """Return how many pixels of a picture are near a colour."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return int((abs(pixels - colour).max(axis=-1) < 12).sum())


BEST, OTHER, GREEN = (0x0B, 0x5F, 0xA5), (0x9F, 0xB3, 0xC8), (0x2E, 0x85, 0x40)


def test_as_a_picture_with_the_best_restart_before_the_others(tmp_path):
    both = {FIRST: entries(20, -3.0), SECOND: entries(30, -1.0)}
    log_likelihood_picture(both, tmp_path / "two.png", "Converged.")
    log_likelihood_picture({FIRST: entries(20)}, tmp_path / "one.png", "Converged.")
    assert inked(tmp_path / "two.png", BEST) > 500
    assert inked(tmp_path / "two.png", OTHER) > 500
    assert inked(tmp_path / "one.png", OTHER) < inked(tmp_path / "two.png", OTHER) / 5


@pytest.mark.parametrize("histories", [{}, {FIRST: []}, {FIRST: entries(1)}, {FIRST: entries(200)}])
def test_as_a_picture_however_long_the_history(tmp_path, histories):
    log_likelihood_picture(histories, tmp_path / "any.png", "a sentence " * 40)
    with Image.open(tmp_path / "any.png") as picture:
        assert picture.size == (960, 780)


def test_as_a_table_with_the_same_bits(tmp_path):
    table, written = HistoryTable(tmp_path / "history.csv"), entries(3)
    for count in range(1, 4):
        table.update({SECOND: written[:count]})
    with (tmp_path / "history.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["log_likelihood_nats_per_row"]) for line in lines] == [entry.objective for entry in written]
    assert [line["pass"] for line in lines] == ["1", "2", "3"]
    assert {(line["model"], line["restart"]) for line in lines} == {("2 components, full", "2")}
    assert {line["rows"] for line in lines} == {"1000"}


def test_as_a_table_that_tells_what_became_of_components(tmp_path):
    table, (first, second) = HistoryTable(tmp_path / "history.csv"), entries(2)
    table.update({FIRST: [dataclasses.replace(first, fate=("component 3 emptied", "component 1 recovered")), second]})
    with (tmp_path / "history.csv").open(newline="") as file:
        assert [line["fate"] for line in csv.DictReader(file)] == ["component 3 emptied; component 1 recovered", ""]


def test_as_a_table_whose_last_line_of_a_fit_says_how_it_ended(tmp_path):
    table = HistoryTable(tmp_path / "history.csv")
    table.update({FIRST: entries(1), SECOND: entries(1)}, {SECOND: "Dropped after 1 pass."})
    table.update({FIRST: entries(2), SECOND: entries(1)}, {FIRST: "Converged.", SECOND: "Dropped after 1 pass."})
    with (tmp_path / "history.csv").open(newline="") as file:
        assert [line["outcome"] for line in csv.DictReader(file)] == ["", "Dropped after 1 pass.", "Converged."]


def test_as_a_table_in_order_of_passes_that_begins_with_earlier_ones(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("what a fit that was killed has left")
    table = HistoryTable(path)
    assert path.read_text().startswith("what")
    for counts in ((2, 2), (3, 2), (3, 3)):
        table.update({member: entries(count) for member, count in zip((FIRST, SECOND), counts, strict=True)})
    with path.open(newline="") as file:
        lines = [(line["pass"], line["restart"]) for line in csv.DictReader(file)]
    assert lines == [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2"), ("3", "1"), ("3", "2")]


def test_with_names_that_tell_fits_apart():
    other = Member("4 components, full", 1)
    assert Member.labels([FIRST]) == {FIRST: "restart 1"}
    assert list(Member.labels([FIRST, SECOND]).values()) == ["restart 1", "restart 2"]
    assert list(Member.labels([FIRST, other]).values()) == ["2 components, full", "4 components, full"]
    assert Member.labels([FIRST, SECOND, other])[SECOND] == "2 components, full, restart 2"


def selection(select_by="bic", unknown=False):
    value = float("nan") if unknown else 5.0
    contenders = [
        Contender(f"{k} components, {kind}", k, kind, 9, -1.0 - k, 7.0, value * k, 8.0, -k / 8, 3, k == 4, "Converged.")
        for kind in ("full", "diag")
        for k in (2, 4)
    ]
    return Selection(contenders, 0, select_by)


def test_as_a_table_of_models_with_the_same_bits(tmp_path):
    selection().write(tmp_path / "selection.csv")
    with (tmp_path / "selection.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["chosen"] for line in lines] == ["yes", "", "", ""]
    assert [float(line["held_out"]) for line in lines] == [each.held_out for each in selection().contenders]


def test_as_words_that_say_which_model_and_why():
    assert selection().text().splitlines()[:2] == [
        "Chosen by BIC of 4 models:",
        " * 2 components, full                10.0  3 passes, converged",
    ]
    assert "foretold from the sample, dropped" in selection().text()
    assert selection("holdout").text().splitlines()[1].split()[4] == "-0.250000"
    assert selection(unknown=True).text().count("not known") == 4


def test_with_what_speaks_against_the_choice():
    told = selection().text().splitlines()
    assert "it would be" not in told[-1]
    assert "No model with more" not in selection().text()
    largest = dataclasses.replace(selection("icl"), best=1).text().splitlines()
    assert largest[-2] == "By AIC and BIC and ICL and held-out log-likelihood it would be 2 components, full."
    assert largest[-1] == "No model with more components was tried: there may be a better one."


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("select_by", ["bic", "holdout"])
def test_as_a_picture_of_the_models(tmp_path, select_by, unknown):
    selection(select_by, unknown).picture(tmp_path / "selection.png")
    drawn = inked(tmp_path / "selection.png", GREEN)
    assert drawn < 50 if unknown and select_by == "bic" else drawn > 100


def test_as_a_summary_in_words():
    summary = Summary(
        "gaussian", "full", [0.25, 0.75], 2, ["a", "b"], 1_000_000, -1.25, 2_500_012.5, 30, 75.0, 95.0, "It converged."
    )
    assert summary.text().splitlines() == [
        "A mixture of 2 components (gaussian, full covariance) of 1,000,000 rows of 2 columns (a, b).",
        "It converged.",
        "Log-likelihood, one EM step before the model: -1.250000 nats per row; BIC 2,500,012.5 (lower is better).",
        "It took 30 passes over the data in 75 s, and 95 s in all.",
        "Shares of the rows: 75.0 %, 25.0 %.",
    ]


def test_as_a_summary_of_what_is_known():
    summary = Summary("gaussian", "diag", [1 / 20] * 20, 1, passes=1)
    assert summary.text().splitlines() == [
        "A mixture of 20 components (gaussian, diag covariance) of 1 column.",
        "It took 1 pass over the data.",
        f"Shares of the rows: {', '.join(['5.0 %'] * 12)} and 8 smaller.",
    ]


def test_with_times_and_sizes_as_people_say_them():
    assert [duration(s) for s in (0.25, 75, 600, 9000)] == ["0.2 s", "75 s", "10 min", "2.5 h"]
    assert [data_size(n) for n in (12, 2048, 3 * 2**30, 5 * 2**50)] == ["12 bytes", "2.0 KiB", "3.0 GiB", "5,120.0 TiB"]
