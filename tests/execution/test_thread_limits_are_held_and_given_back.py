from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
from distributed import Client
from threadpoolctl import threadpool_info, threadpool_limits

from dask_em.execution import open_reducer, single_threaded_blas
from dask_em.execution.dask_reducer import DaskReducer
from dask_em.rows import Rows
from tests.execution.cases import Seeded, Workers, layout_of


def threads_of_blas() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def _two_threads() -> Any:
    with threadpool_limits(limits=2):
        yield


def test_one_thread_is_held_and_given_back() -> None:
    assert threads_of_blas() == {2}
    with single_threaded_blas():
        assert threads_of_blas() == {1}
        with single_threaded_blas():
            assert threads_of_blas() == {1}
        assert threads_of_blas() == {1}
    assert threads_of_blas() == {2}


def test_it_is_given_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), single_threaded_blas():
        _ = 1 // 0
    assert threads_of_blas() == {2}


def test_the_last_of_several_threads_gives_it_back() -> None:
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with single_threaded_blas():
            first_is_in.set()
            second_is_in.wait(10)
        first_is_out.set()

    thread = threading.Thread(target=first)
    thread.start()
    first_is_in.wait(10)
    with single_threaded_blas():
        second_is_in.set()
        first_is_out.wait(10)
        assert threads_of_blas() == {1}
    thread.join()
    assert threads_of_blas() == {2}


def test_a_limit_of_another_thread_is_no_obstacle() -> None:
    held, done = threading.Event(), threading.Event()

    def other() -> None:
        with threadpool_limits(limits=2):
            held.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(10)
    with single_threaded_blas():
        inside = threads_of_blas()
    done.set()
    thread.join()
    assert inside == {1}
    assert threads_of_blas() == {2}


def test_the_pool_is_limited_too() -> None:
    with open_reducer(layout_of(Seeded(11)), threads=2) as reducer:
        assert set(reducer.total(blas_threads).of) == {1}
    assert threads_of_blas() == {2}


def blas_threads(rows: Rows) -> Workers:
    return Workers(dict.fromkeys(threads_of_blas(), 1))


def test_workers_are_pinned(client: Client) -> None:
    with DaskReducer(layout_of(Seeded(11)), client) as reducer:
        assert set(reducer.total(blas_threads).of) == {1}


PINNED = """
from threadpoolctl import threadpool_info, threadpool_limits
import numpy
from dask_em.execution.blas import pin_blas_once, single_threaded_blas
threadpool_limits(limits=2)
def threads(): return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
with single_threaded_blas():
    pin_blas_once()
print(threads())
pin_blas_once()
with single_threaded_blas():
    pass
print(threads())
"""


def test_a_pin_lasts_but_not_in_the_process_of_a_fit() -> None:
    done = subprocess.run([sys.executable, "-c", PINNED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["{2}", "{1}"]


def test_the_local_executor_loads_no_dask() -> None:
    code = (
        "import sys, dask_em.execution as e; e.open_reducer; print({'dask', 'distributed', 'pandas'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
