"""Under plain EM, under accelerated steps, and where a component is moved; and all ways lead to one optimum."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from dask_em.driver import EM, LBFGS, Reseeding, Squarem, State, Stopping, iterate
from dask_em.driver.acceleration import Method
from dask_em.families import COVARIANCES, Fixed, Gaussian, GaussianParameters
from dask_em.mixture import Free, Mixture, MixtureParameters, PartlyFixed
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Reducer, Serial
from dask_em.rows import Frame
from dask_em.storage import open_source

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(3)
K, D = 4, 3
CENTRES = 1.5 * RANDOM.standard_normal((K, D))
X = CENTRES[RANDOM.integers(K, size=4000)] + RANDOM.standard_normal((4000, D)) * [0.7, 1.0, 1.3]
FRAME = Frame(X.mean(axis=0))
SPHERES = {
    "full": np.linspace(1, 2, K)[:, None, None] * np.eye(D),
    "tied": 1.5 * np.eye(D),
    "diag": np.full((K, D), 1.5),
    "spherical": np.full(K, 1.5),
}
METHODS = pytest.mark.parametrize("method", [EM(), Squarem(), LBFGS()], ids=["EM", "SQUAREM", "LBFGS"])


def begun(covariance: str, regularization: float, method: Method) -> tuple[State, Reducer]:
    fixed = Fixed((0, 1), () if covariance == "tied" else (1, 2))
    family = Gaussian(COVARIANCES[covariance], regularization, regularization > 0, fixed=fixed)
    model = Mixture(family, PartlyFixed((0, 3)))
    components = GaussianParameters(FRAME.enter(CENTRES + 0.3), SPHERES[covariance])
    start = MixtureParameters(np.array([0.2, 0.25, 0.25, 0.3]), components)
    source = open_source(X)
    reducer = Serial(plan(source, source.atoms(), ModelSize(K, 10)).layout)
    return State(model, FRAME, start, Stopping(0.0, max_passes=150), method=method), reducer


def held(params: MixtureParameters, covariance: str) -> list[bytes]:
    covariances = params.components.covariances[[1, 2]] if covariance != "tied" else np.empty(0)
    return [part.tobytes() for part in (params.weights[[0, 3]], params.components.means[[0, 1]], covariances)]


@METHODS
@pytest.mark.parametrize("covariance", list(COVARIANCES))
@pytest.mark.parametrize("regularization", [0.0, 1e-2])
def test_bit_for_bit(method: Method, covariance: str, regularization: float) -> None:
    state, reducer = begun(covariance, regularization, method)
    before = held(state.params, covariance)
    states = [it.state for it in iterate([state], reducer)]
    assert all(held(params, covariance) == before for s in states for params in (s.params, s.reached))
    kept = [s.objective for s in states]
    assert np.diff(kept).min() >= -1e-12
    assert kept[-1] > kept[0] + 1e-3


@pytest.mark.parametrize("covariance", list(COVARIANCES))
def test_accelerated_steps_end_where_em_does(covariance: str) -> None:
    ends = []
    for method in (EM(), LBFGS()):
        state, reducer = begun(covariance, 1e-2, method)
        state = dataclasses.replace(state, stopping=Stopping(1e-13, max_passes=3000))
        *_, last = iterate([state], reducer)
        ends.append(last.state)
    plain, quick = ends
    assert quick.objective == pytest.approx(plain.objective, abs=1e-9)
    assert plain.model.change(quick.reached, plain.reached) < 1e-3
    assert len(quick.history) < len(plain.history) / 2


def test_a_component_with_a_fixed_mean_is_never_moved() -> None:
    reseeding = Reseeding.of(X, np.ones(len(X)), K, staying=(1,))
    assert reseeding.candidates(["", "emptied", "emptied", ""]) == [2]


def test_what_is_fixed_of_a_moved_component_moves_not() -> None:
    state, _ = begun("full", 1e-2, EM())
    fates = ["", "", "emptied", "emptied"]
    reseeding = Reseeding.of(X, np.ones(len(X)), K, staying=(0, 1))
    moved, _ = reseeding.move(state.model, FRAME, state.params, [2, 3], fates)
    assert held(moved, "full") == held(state.params, "full")
    assert moved.weights.sum() == pytest.approx(1.0)
    assert (moved.components.means[[2, 3]] != state.params.components.means[[2, 3]]).any(axis=1).all()
    assert (moved.components.covariances[3] != state.params.components.covariances[3]).any()


def test_a_weight_alone_among_fixed_ones_has_nothing_to_take() -> None:
    weights = np.array([0.2, 0.5, 0.3])
    assert PartlyFixed((0, 2)).relocated(weights, 1) is weights
    np.testing.assert_allclose(PartlyFixed((2,)).relocated(weights, 0), [0.175, 0.525, 0.3])
    np.testing.assert_allclose(Free().relocated(weights, 0), [1 / 6, 0.5 / 0.8 * 5 / 6, 0.3 / 0.8 * 5 / 6])
