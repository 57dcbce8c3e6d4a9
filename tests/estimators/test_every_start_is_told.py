from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from dask_em import GaussianMixture

RANDOM = np.random.default_rng(0)
ROWS = 2.0 * RANDOM.standard_normal((5, 2))[RANDOM.integers(5, size=50_000)] + RANDOM.standard_normal((50_000, 2))


def told(caplog: pytest.LogCaptureFixture, **settings: Any) -> list[Any]:
    caplog.clear()
    caplog.set_level(logging.INFO, "dask_em")
    list(GaussianMixture(3, random_state=0, max_iter=3, tol=0, **settings).iterate(ROWS))
    return [record for record in caplog.records if hasattr(record, "event")]


def test_with_its_seed_and_what_it_came_to_on_the_sample(caplog: pytest.LogCaptureFixture) -> None:
    records = told(caplog, n_init=3, init_params="random_from_data")
    starts = [record for record in records if record.event == "start"]
    assert [(each.start, each.kind) for each in starts] == [(i, "random_from_data") for i in (1, 2, 3)]
    assert len({each.seed for each in starts}) == 3
    fitted = [record for record in records if record.event == "start fitted"]
    assert [each.start for each in fitted] == [1, 2, 3]
    assert all(each.objective < 0 < each.passes for each in fitted)
    assert "start 2 came to -" in fitted[1].getMessage()
    again = [record for record in told(caplog, n_init=3, init_params="random_from_data") if record.event == "start"]
    assert [each.seed for each in again] == [each.seed for each in starts]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"labels_init": RANDOM.integers(3, size=len(ROWS))}, "given labels"),
        (
            {
                "weights_init": np.full(3, 1 / 3),
                "means_init": ROWS[:3],
                "precisions_init": np.tile(np.eye(2), (3, 1, 1)),
            },
            "given parameters",
        ),
    ],
)
def test_or_where_it_was_given(caplog: pytest.LogCaptureFixture, settings: dict[str, Any], kind: str) -> None:
    (start,) = [record for record in told(caplog, n_init=3, **settings) if record.event == "start"]
    assert (start.kind, start.seed) == (kind, None)
    assert start.getMessage() == f"3 components, full: start 1 of 1: {kind}"


def test_and_how_often_k_means_read_all_rows(caplog: pytest.LogCaptureFixture) -> None:
    records = told(caplog, n_init=2, init_params="k-means||")
    (reading,) = [record for record in records if record.event == "k-means||"]
    assert reading.reads == 6
    assert [record.start for record in records if record.event == "start"] == [1, 2]
    assert not [record for record in records if record.event == "start fitted"]  # they begin with all rows
