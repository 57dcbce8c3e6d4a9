import dataclasses
import math
import sys
from io import StringIO
from pathlib import Path
from threading import Lock

import pytest
from rich.console import Console

from dask_em.cli.progress import Progress, line, passes_left, seconds_of, who_computes
from dask_em.config import Config
from dask_em.driver import Entry
from dask_em.execution import Workforce
from dask_em.kernel import compiled_kernel


def test_of_changes_that_shrink_by_a_factor():
    assert passes_left([2.0**-i for i in range(5)], 0.9 * 2.0**-9, 100) == 6
    assert passes_left([math.nan, *(2.0**-i for i in range(5))], 0.9 * 2.0**-9, 100) == 6


@pytest.mark.parametrize("changes", [[], [math.nan], [1.0, 0.5], [1.0, 1.0, 1.0], [1.0, 2.0, 4.0]])
def test_as_the_most_while_nothing_is_known(changes):
    assert passes_left(changes, 1e-3, 42) == 42


def test_as_no_more_than_the_most():
    assert passes_left([1.0, 0.9, 0.81, 0.729], 1e-9, 7) == 7


def test_as_now_when_the_rule_is_met():
    assert passes_left([1.0, 1e-6], 1e-3, 42) == 0


def test_on_a_line_that_tells_pass_value_change_and_rates():
    entry = Entry(7, 2_000_000, -12.5, -12.5, -13.0, 0.1, 0.2, 10.0, 0.5, 1_000_000_000)
    assert line(entry, 1.3e-3, 90.0) == (
        "pass   7  log-likelihood     -12.500000 nats/row  change  1.3e-03    4.00 M rows/s    2.00 GB/s  ETA 90 s"
    )
    moved = dataclasses.replace(entry, fate=("component 3 emptied",))
    assert line(moved, 1.3e-3, 90.0).endswith("ETA 90 s  component 3 emptied")
    assert line(entry, math.nan, 90.0, "2 components, full").startswith("pass   7  2 components, full  log-likelihood ")
    assert "change        -  " in line(entry, math.nan, 90.0)
    assert line(entry, 1.3e-3, 90.0, at_most=True).endswith("ETA at most 90 s")
    assert line(entry, math.nan, math.nan, at_most=True).endswith("ETA after the next pass")


def test_without_the_first_pass_which_compiles_too():
    first = Entry(1, 1_000, -3.0, -3.0, -3.0, math.nan, 0.2, 10.0, 100.0, 8_000)
    later = [dataclasses.replace(first, seconds=seconds) for seconds in (0.5, 1.5)]
    assert math.isnan(seconds_of(3, [first]))
    assert seconds_of(0, [first]) == 0
    assert seconds_of(3, [first, *later]) == 3


def test_and_who_computes():
    assert who_computes(Workforce(2, 8)) == who_computes(Workforce(2, 8), 2) == "workers: 2, with 8 threads in all"
    assert who_computes(Workforce(1, 1), 8) == "workers: 1 of 8, with 1 thread in all; the others join as they come"
    assert who_computes(Workforce(0, 0), 8) == "no worker is there: the passes wait for one"


def test_and_who_computes_only_where_that_has_changed():
    said = StringIO()
    config = Config(data={"source": "x.npy"}, model={"components": 2}, output={"directory": "run"})
    progress = Progress(config, Console(file=said))
    for force in (Workforce(2, 2), Workforce(2, 2), None, Workforce(1, 1)):
        progress.show_workers(force)
    assert said.getvalue().splitlines() == ["workers: 2, with 2 threads in all", "workers: 1, with 1 thread in all"]


@pytest.mark.skipif(compiled_kernel() is None, reason="nothing is compiled: no numba")
def test_that_the_kernel_is_compiled_is_told_once(call, monkeypatch):
    kernel = compiled_kernel()
    monkeypatch.setattr(kernel, "_READY", set())
    monkeypatch.setattr(kernel, "_UNTOLD", Lock())
    monkeypatch.setattr(kernel, "_mark", lambda *types: Path("not kept"))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")  # the kernel that is there serves
    for lines in (1, 0):
        assert call(["fit", "config.yaml", "--set", "cluster.kind=none"]).stderr.count("compiling the kernel") == lines
