from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from dask_em.driver import EM, LBFGS, Squarem, State, Stopping, iterate
from dask_em.driver.acceleration import Method
from dask_em.driver.initialization import STARTS
from dask_em.families import COVARIANCES, Gaussian
from dask_em.families.gaussian import extents
from dask_em.mixture import Free, Mixture
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Reducer, Serial
from dask_em.rows import Frame, Rows
from dask_em.storage import open_source

Array = np.ndarray[Any, Any]
N, D, K = 3000, 4, 4


def overlapping(seed: int) -> Array:
    random = np.random.default_rng(seed)
    centres = 1.2 * random.standard_normal((K, D))
    return centres[random.integers(K, size=N)] + random.standard_normal((N, D)) * random.uniform(0.6, 1.5, D)


def begun(x: Array, covariance: str, method: Method, regularization: float = 0.0) -> tuple[State, Reducer]:
    model = Mixture(Gaussian(COVARIANCES[covariance], regularization, blurred=regularization > 0), Free())
    frame = Frame(x.mean(axis=0))
    rows = Rows.of(x - frame.centre)
    params = model.start(rows, STARTS["kmeans"](rows, K, np.random.RandomState(0)))
    components = params.components
    spanning = type(components)(components.means, components.covariances, None, extents(x.min(axis=0), x.max(axis=0)))
    source = open_source(x)
    reducer = Serial(plan(source, source.atoms(), ModelSize(K, 15)).layout)
    start = type(params)(params.weights, spanning)
    return State(model, frame, start, Stopping(0.0, max_passes=120), method=method), reducer


@pytest.mark.parametrize("method", [EM(), Squarem(), LBFGS()], ids=["EM", "SQUAREM", "LBFGS"])
@pytest.mark.parametrize("covariance", list(COVARIANCES))
@pytest.mark.parametrize("regularization", [0.0, 1e-2])
def test_what_is_kept_never_falls(method: Method, covariance: str, regularization: float) -> None:
    state, reducer = begun(overlapping(1), covariance, method, regularization)
    kept = [it.state.objective for it in iterate([state], reducer)]
    assert np.diff(kept).min() >= -1e-12
    assert kept[-1] > kept[0]


@pytest.mark.parametrize("covariance", list(COVARIANCES))
def test_they_end_where_em_stands_still(covariance: str) -> None:
    state, reducer = begun(overlapping(2), covariance, LBFGS())
    *_, last = iterate([state], reducer)
    point = last.state.kept
    assert point is not None
    assert point.gain < 1e-12
    assert state.model.change(point.step, point.params) < 1e-4


def test_they_take_fewer_passes() -> None:
    passes = dict.fromkeys(("EM", "LBFGS"), 0)
    for seed in range(5):
        best = {}
        for method in (EM(), LBFGS()):
            state, reducer = begun(overlapping(seed), "full", method)
            best[type(method).__name__] = np.array([it.state.objective for it in iterate([state], reducer)])
        goal = min(kept[-1] for kept in best.values()) - 1e-5
        for name, kept in best.items():
            passes[name] += int(np.argmax(kept >= goal)) + 1
    assert passes["LBFGS"] < 0.6 * passes["EM"], passes


def test_a_step_that_falls_short_is_told_and_not_kept() -> None:
    for seed in range(20):
        state, reducer = begun(overlapping(seed), "full", LBFGS())
        entries = [it.entry for it in iterate([state], reducer)]
        for before, entry in pairwise(entries):
            if not entry.kept:
                assert entry.objective < before.objective + 1e-3
                return
    pytest.fail("no step fell short in twenty fits")
