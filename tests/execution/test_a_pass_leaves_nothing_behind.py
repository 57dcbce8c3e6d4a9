from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import pytest
from distributed import Client

from dask_em.errors import DataError
from dask_em.execution.dask_reducer import DaskReducer
from tests.execution.cases import Memory, Seeded, fails_late, layout_of, sums, sums_with, values_of


def tasks_of(dask_scheduler: Any, run: str) -> dict[str, str]:
    return {str(key): state.prefix.name for key, state in dask_scheduler.tasks.items() if run in str(key)}


def left(client: Client, run: str, allowed: frozenset[str] = frozenset()) -> list[str]:
    """Return a run's tasks on the scheduler, which learns of a release a moment later."""
    for _ in range(100):
        rest = [key for key, prefix in client.run_on_scheduler(tasks_of, run=run).items() if prefix not in allowed]
        if not rest:
            break
        time.sleep(0.02)
    return rest


def test_nothing_stays_of_a_pass(client: Client) -> None:
    with DaskReducer(layout_of(Seeded(11)), client, keep=0.0) as reducer:
        reducer.total(partial(sums_with, np.zeros(40_000)))
        assert left(client, reducer._run) == []


def test_nothing_stays_of_a_pass_that_failed(client: Client) -> None:
    with DaskReducer(layout_of(Seeded(11)), client, keep=0.0) as reducer:
        with pytest.raises(DataError, match="row 500"):
            reducer.total(fails_late)
        assert left(client, reducer._run) == []


def test_rows_stay_until_the_reducer_is_closed(client: Client) -> None:
    layout = layout_of(Memory(values_of(0, 60_000), 6_000), 10, slab_rows=4_000)
    with DaskReducer(layout, client) as reducer:
        reducer.total(sums)
        assert left(client, reducer._run, frozenset({"load"})) == []
        kept = client.run_on_scheduler(tasks_of, run=reducer._run)
        assert list(kept.values()) == ["load"] * 10
    assert left(client, reducer._run) == []


def prefixes(dask_scheduler: Any) -> set[str]:
    return set(dask_scheduler.task_prefixes)


def test_the_dashboard_shows_few_names(client: Client) -> None:
    with DaskReducer(layout_of(Seeded(11)), client, keep=0.0) as reducer:
        for _ in range(3):
            reducer.total(partial(sums_with, np.zeros(40_000)))
        run = reducer._run
    names = client.run_on_scheduler(prefixes)
    assert {"est", "mrg", "par"} <= names
    assert not [name for name in names if run in name]
