import dataclasses
import math

import pytest

from dask_em.cli.progress import line, passes_left
from dask_em.driver import Entry


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
