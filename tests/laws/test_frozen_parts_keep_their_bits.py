"""And the M-step of the others is right: it is where Q is largest, found by another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from dask_em.mixture import PartlyFixed
from dask_em.testing import Case
from tests.families import CASES

Array = np.ndarray[Any, Any]
FIXED = [case for case in CASES if isinstance(case.weights, PartlyFixed)]
cases = pytest.mark.parametrize("case", FIXED, ids=lambda case: case.name)


def held(case: Case, params: Any) -> list[bytes]:
    """Return the bits of all that is fixed."""
    fixed, weights = case.family.fixed, case.weights
    covariances, d = params.components.covariances, params.components.means.shape[1]
    shared = case.family.covariance.is_shared
    kept = covariances if shared and fixed.covariances else covariances[list(fixed.covariances)] if not shared else d
    parts = params.weights[list(weights.components)], params.components.means[list(fixed.means)], np.asarray(kept)
    return [part.tobytes() for part in parts]


@cases
def test_in_every_em_step_while_the_others_move(case: Case) -> None:
    frame, begun = case.begin(case.rows())
    params = begun
    for _ in range(10):
        params = case.model.maximize(case.pass_over(case.rows(), frame, params), params)
        assert held(case, params) == held(case, begun)
    assert params.weights.sum() == pytest.approx(1.0, abs=1e-12)
    free_means = np.setdiff1d(np.arange(case.components), case.family.fixed.means)
    assert (params.components.means[free_means] != begun.components.means[free_means]).all()


@cases
def test_wherever_the_coordinates_go(case: Case) -> None:
    model, (_, params) = case.model, case.begin(case.rows())
    geometry = model.geometry()
    u = geometry.coordinates(params)
    moved = geometry.parameters(u + 0.3 * np.random.default_rng(0).standard_normal(u.size), params)
    assert held(case, moved) == held(case, params)
    assert moved.weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert model.change(moved, params) > 0.1


@cases
def test_the_m_step_is_where_q_is_largest(case: Case) -> None:
    model, rows = case.model, case.rows(200)
    frame, params = case.begin(rows)
    stats, geometry = case.pass_over(rows, frame, params), case.model.geometry()
    top = model.maximize(stats, params)
    u = geometry.coordinates(params)

    def fall(step: Array) -> float:
        found = geometry.parameters(u + step, params)
        return 1e3 if found is None else -model.q(stats, found)

    best = minimize(fall, np.zeros(u.size), method="BFGS", options={"gtol": 1e-7})
    found = geometry.parameters(u + best.x, params)
    assert model.q(stats, top) == pytest.approx(-best.fun, abs=1e-9)
    assert model.change(found, top) < 1e-3


@cases
def test_they_are_no_free_parameters(case: Case) -> None:
    model, rows = case.model, case.rows()
    frame, params = case.begin(rows)
    top = model.maximize(case.pass_over(rows, frame, params), params)
    whiten, size = model.geometry().whitening(top), model.geometry().coordinates(top).size
    rank = np.linalg.matrix_rank(np.stack([whiten(unit) for unit in np.eye(size)]))
    assert model.degrees_of_freedom(top) == rank


def test_an_emptied_component_keeps_them_too() -> None:
    (case,) = (case for case in FIXED if case.name == "gaussian-full-fixed-0")
    frame, params = case.begin(case.rows())
    far = params.components.means.copy()
    far[2] += 1e6
    lost = type(params)(params.weights, type(params.components)(far, params.components.covariances))
    after = case.model.maximize(case.pass_over(case.rows(), frame, lost), lost)
    assert held(case, after) == held(case, lost)
    assert not case.model.collapsed(after)[2]
