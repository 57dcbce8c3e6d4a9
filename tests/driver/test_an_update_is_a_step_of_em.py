"""New rows' sums, added to those of the rows before, make the step that EM makes of the rows together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dask_em._record import dump
from dask_em.driver.updating import Update, update
from dask_em.mixture import MixtureParameters
from dask_em.rows import Frame, Rows
from dask_em.testing import Case, permuted
from tests.families import CASES

every_family = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
OLD = 250  # of 400 rows


def close(one: Any, other: Any, relative: float) -> None:
    for path, array in dump(other)[1].items():
        scale = np.abs(array).max(initial=1e-300)
        np.testing.assert_allclose(dump(one)[1][path], array, rtol=0, atol=relative * scale, err_msg=path)


def lagging(case: Case, rows: Rows, frame: Frame, first: MixtureParameters) -> tuple[MixtureParameters, Update]:
    """Return the model of the old rows' sums, as a fit leaves it, and what the new rows make of it."""
    before = case.pass_over(rows[:OLD], frame, first)
    params = case.model.maximize(before, first)
    return params, update(case.model, params, before, case.pass_over(rows[OLD:], frame, params), 7)


@every_family
def test_it_is_the_pass_over_all_rows_where_all_sums_are_of_the_same_parameters(case: Case) -> None:
    rows = case.rows()
    frame, params = case.begin(rows)
    old, new = case.pass_over(rows[:OLD], frame, params), case.pass_over(rows[OLD:], frame, params)
    whole = case.pass_over(rows, frame, params)
    result = update(case.model, params, old, new, 1)
    close(result.params, case.model.maximize(whole, params), 1e-12)
    assert (result.statistics.rows, result.entry.rows) == (400, 150)
    assert np.isclose(result.statistics.weight, rows.weight.sum(), rtol=1e-14)


@every_family
def test_it_is_the_step_of_every_row_s_own_responsibilities_where_they_lag(case: Case) -> None:
    rows, model = case.rows(), case.model
    frame, first = case.begin(rows)
    params, result = lagging(case, rows, frame, first)
    resp = np.concatenate(
        [model.prepare(by, frame).evaluate(part)[1].copy() for by, part in ((first, rows[:OLD]), (params, rows[OLD:]))],
        axis=1,
    )
    gathered = case.family.expect(model.prepare(params, frame).prepared, rows)[1](resp * rows.weight)
    expected = case.family.maximize(gathered, params.components)
    close(result.params.components, expected, 1e-10)
    close(result.params.weights, model.weights.maximize(resp @ rows.weight, params.weights), 1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if case.rises], ids=lambda case: case.name)
def test_it_never_lowers_what_the_objective_over_all_rows_is_never_below(case: Case) -> None:
    rows, model = case.rows(), case.model
    frame, first = case.begin(rows)
    params, result = lagging(case, rows, frame, first)
    assert result.entry.gain >= -1e-12

    def bound(at: MixtureParameters) -> float:
        """Return F(at), nats: Q and the entropy of the responsibilities as they were found."""
        parts = ((first, rows[:OLD]), (params, rows[OLD:]))
        total = 0.0
        for by, part in parts:
            stats = case.pass_over(part, frame, by)
            total += stats.weight * (model.objective(stats, by) + model.q(stats, at) - model.q(stats, by))
        return total

    whole = case.pass_over(rows, frame, result.params)
    weight = rows.weight.sum()
    assert np.isclose((bound(result.params) - bound(params)) / weight, result.entry.gain, atol=1e-11)
    assert model.objective(whole, result.params) >= bound(result.params) / weight - 1e-12
    level = params  # sums of the same parameters: the rise is certified
    old, new = case.pass_over(rows[:OLD], frame, level), case.pass_over(rows[OLD:], frame, level)
    again = update(model, level, old, new, 1)
    rise = model.objective(case.pass_over(rows, frame, again.params), again.params) - model.objective(old + new, level)
    assert rise >= again.entry.gain - 1e-11


@every_family
def test_weight_two_is_the_row_twice(case: Case) -> None:
    rows, model = case.rows(), case.model
    frame, first = case.begin(rows)
    weight = np.arange(150) % 3
    before = case.pass_over(rows[:OLD], frame, first)
    params = model.maximize(before, first)
    new = (Rows.of(rows.values[OLD:], weight), Rows.of(np.repeat(rows.values[OLD:], weight, axis=0)))
    one, other = (update(model, params, before, case.pass_over(part, frame, params), 1) for part in new)
    close(one.params, other.params, 1e-11)
    assert np.isclose(one.entry.log_likelihood, other.entry.log_likelihood, rtol=1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if case.order_free], ids=lambda case: case.name)
def test_components_have_no_order(case: Case) -> None:
    rows, k = case.rows(), case.components
    order = np.roll(np.arange(k), 1)
    frame, first = case.begin(rows)
    one, other = (lagging(case, rows, frame, params)[1] for params in (first, permuted(first, order, k)))
    close(other.params, permuted(one.params, order, k), 1e-10)
    assert np.isclose(one.entry.gain, other.entry.gain, atol=1e-12)
