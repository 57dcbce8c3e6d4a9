import csv
import dataclasses

import numpy as np
import pytest
from PIL import Image

from dask_em.driver import Entry
from dask_em.report import HistoryTable, Summary, data_size, duration, log_likelihood_picture


def entries(count, end=-1.0):
    return [
        Entry(i, 1000, end - 2.0**-i, end - 2.0**-i, -2.0, 2.0**-i, 0.5, 30.0, 1.5, 16_000) for i in range(1, count + 1)
    ]


def inked(path, colour):
    """Return how many pixels of a picture are near a colour."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return int((abs(pixels - colour).max(axis=-1) < 12).sum())


BEST, OTHER = (0x0B, 0x5F, 0xA5), (0x9F, 0xB3, 0xC8)


def test_as_a_picture_with_the_best_restart_before_the_others(tmp_path):
    log_likelihood_picture({0: entries(20, -3.0), 1: entries(30, -1.0)}, tmp_path / "two.png", "Converged.")
    log_likelihood_picture({0: entries(20)}, tmp_path / "one.png", "Converged.")
    assert inked(tmp_path / "two.png", BEST) > 500
    assert inked(tmp_path / "two.png", OTHER) > 500
    assert inked(tmp_path / "one.png", OTHER) < inked(tmp_path / "two.png", OTHER) / 5


@pytest.mark.parametrize("histories", [{}, {0: []}, {0: entries(1)}, {0: entries(200)}])
def test_as_a_picture_however_long_the_history(tmp_path, histories):
    log_likelihood_picture(histories, tmp_path / "any.png", "a sentence " * 40)
    with Image.open(tmp_path / "any.png") as picture:
        assert picture.size == (960, 780)


def test_as_a_table_with_the_same_bits(tmp_path):
    table, written = HistoryTable(tmp_path / "history.csv"), entries(3)
    for count in range(1, 4):
        table.update({1: written[:count]})
    with (tmp_path / "history.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["log_likelihood_nats_per_row"]) for line in lines] == [entry.objective for entry in written]
    assert [line["pass"] for line in lines] == ["1", "2", "3"]
    assert {line["restart"] for line in lines} == {"2"}
    assert {line["rows"] for line in lines} == {"1000"}


def test_as_a_table_that_tells_what_became_of_components(tmp_path):
    table, (first, second) = HistoryTable(tmp_path / "history.csv"), entries(2)
    table.update({0: [dataclasses.replace(first, fate=("component 3 emptied", "component 1 recovered")), second]})
    with (tmp_path / "history.csv").open(newline="") as file:
        assert [line["fate"] for line in csv.DictReader(file)] == ["component 3 emptied; component 1 recovered", ""]


def test_as_a_table_in_order_of_passes_that_begins_with_earlier_ones(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("what a fit that was killed has left")
    table = HistoryTable(path)
    assert path.read_text().startswith("what")
    for counts in ((2, 2), (3, 2), (3, 3)):
        table.update({restart: entries(count) for restart, count in enumerate(counts)})
    with path.open(newline="") as file:
        lines = [(line["pass"], line["restart"]) for line in csv.DictReader(file)]
    assert lines == [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2"), ("3", "1"), ("3", "2")]


def test_as_a_summary_in_words():
    summary = Summary(
        "gaussian", "full", [0.25, 0.75], 2, ["a", "b"], 1_000_000, -1.25, 2_500_012.5, 30, 75.0, "It converged."
    )
    assert summary.text().splitlines() == [
        "A mixture of 2 components (gaussian, full covariance) of 1,000,000 rows of 2 columns (a, b).",
        "It converged.",
        "Log-likelihood: -1.250000 nats per row; BIC 2,500,012.5 (lower is better).",
        "It took 30 passes over the data in 75 s.",
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
