"""Two components on one cluster and one on two: no EM step leads out, a split and a merge do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dask_em import GaussianMixture
from dask_em.driver import LBFGS, State, Stopping, iterate, passes, split_merge
from dask_em.driver.split_merge import improved, moves
from dask_em.families import Full, Gaussian, GaussianParameters, Poisson, Spherical
from dask_em.families.poisson import PoissonParameters
from dask_em.mixture import Free, Mixture, MixtureParameters
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Serial
from dask_em.rows import Frame, Rows
from dask_em.storage import open_source

Array = np.ndarray[Any, Any]
CENTRES = np.array([[0.0, 0], [10, 0], [0, 10], [12, 12]])


def clouds(n: int) -> Array:
    random = np.random.default_rng(0)
    return CENTRES[random.integers(4, size=n)] + random.standard_normal((n, 2))


X = clouds(4_000)
BETWEEN = np.array([[-0.5, 0], [0.5, 0], [5, 5], [12, 12]])  # two on the first cluster, one between two others


def stuck(family: Gaussian) -> tuple[State, Serial]:
    """Return a fit that has converged to the poor optimum."""
    source = open_source(X)
    reducer = Serial(plan(source, source.atoms(), ModelSize(4, 6)).layout)
    frame = Frame(X.mean(axis=0))
    covariances = np.tile(np.eye(2), (4, 1, 1)) if isinstance(family.covariance, Full) else np.ones(4)
    begun = MixtureParameters(np.full(4, 0.25), GaussianParameters(frame.enter(BETWEEN), covariances))
    state = State(Mixture(family, Free()), frame, begun, Stopping(1e-9, max_passes=300), method=LBFGS())
    for iteration in iterate([state], reducer):
        state = iteration.state
    return state, reducer


@pytest.mark.parametrize("family", [Gaussian(Full(), 0.0), Gaussian(Spherical(), 0.0)], ids=["full", "spherical"])
def test_to_the_one_that_made_the_rows(family: Gaussian) -> None:
    state, reducer = stuck(family)
    assert state.outcome is not None
    assert state.outcome.converged
    (better,) = improved([state], reducer, X, np.ones(len(X)))
    assert better.objective > state.objective + 0.1
    means = better.frame.leave(better.reached.components.means)
    nearest = np.linalg.norm(means[:, None] - CENTRES, axis=2).min(axis=0)
    assert nearest.max() < 0.2


def test_of_which_the_first_tried_is_the_right_one() -> None:
    state, _ = stuck(Gaussian(Spherical(), 0.0))
    first, *others = moves(state.model, state.frame, state.reached, X, np.ones(len(X)), 3)
    assert len(others) == 2
    means = state.frame.leave(first.components.means)
    assert np.linalg.norm(means[:, None] - CENTRES, axis=2).min(axis=0).max() < 1.0


def test_and_a_good_one_stays_bit_for_bit() -> None:
    state, reducer = stuck(Gaussian(Full(), 0.0))
    (better,) = improved([state], reducer, X, np.ones(len(X)))
    (again,) = improved([better], reducer, X, np.ones(len(X)))
    assert again is better


def test_nor_for_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    state, reducer = stuck(Gaussian(Full(), 0.0))
    monkeypatch.setattr(split_merge, "GAINED", 1e3)
    (same,) = improved([state], reducer, X, np.ones(len(X)))
    assert same is state


def test_after_passes_enough_to_show_its_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    state, reducer = stuck(Gaussian(Full(), 0.0))
    (good,) = improved([state], reducer, X, np.ones(len(X)))
    given_up: list[int] = []

    def watched(states: list[State], *rest: Any, **more: Any) -> Any:
        for parts in passes(states, *rest, **more):
            yield parts
            given_up.extend(len(part.state.history) for part in parts if part.state.dropped)

    monkeypatch.setattr(split_merge, "passes", watched)
    improved([good], reducer, X, np.ones(len(X)))
    assert given_up, "all moves from a good optimum are"
    assert min(given_up) >= split_merge.PATIENT > 3


def test_with_weights_as_with_repeated_rows() -> None:
    state, _ = stuck(Gaussian(Full(), 0.0))
    weight = np.random.default_rng(1).integers(1, 3, len(X)).astype(float)
    twice = np.repeat(X, weight.astype(int), axis=0)
    (one,) = moves(state.model, state.frame, state.reached, X, weight, 1)
    (other,) = moves(state.model, state.frame, state.reached, twice, np.ones(len(twice)), 1)
    np.testing.assert_allclose(one.components.means, other.components.means, atol=1e-9)


def test_of_any_family() -> None:
    random = np.random.default_rng(0)
    counts = random.poisson(np.array([1.0, 20.0, 60.0])[random.integers(3, size=2_000)]).astype(float)[:, None]
    poor = MixtureParameters(np.array([0.1, 0.25, 0.65]), PoissonParameters(np.array([[0.9], [1.1], [40.0]])))
    (first, *_) = moves(Mixture(Poisson(), Free()), Frame.identity(1), poor, counts, np.ones(2_000), 3)
    np.testing.assert_allclose(np.sort(first.components.rates[:, 0]), [1, 20, 60], rtol=0.1)


def test_not_where_two_components_leave_nothing_to_merge() -> None:
    model = Mixture(Gaussian(Spherical(), 0.0), Free())
    params = model.start(Rows.of(X), np.stack([X[:, 0] > 5, X[:, 0] <= 5]).astype(float))
    assert moves(model, Frame.identity(2), params, X, np.ones(len(X)), 3) == []


def test_so_that_a_whole_fit_starts_from_there() -> None:
    many = clouds(60_000)
    start: dict[str, Any] = {"means_init": BETWEEN, "random_state": 0, "tol": 1e-6}
    better = GaussianMixture(4, **start).fit(many)
    plain = GaussianMixture(4, accelerate=False, max_iter=300, **start).fit(many)
    assert better.lower_bound_ > plain.lower_bound_ + 0.1
