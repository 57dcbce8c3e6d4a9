"""Plain EM climbs under the blurred objective, and under the bound that keeps collapsed components finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dask_em.driver import State, Stopping, iterate
from dask_em.families import COVARIANCES, Covariance, Gaussian
from dask_em.mixture import Free, Mixture
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Serial
from dask_em.rows import Rows
from tests.sources import Chunks

Array = np.ndarray[Any, Any]
PROBLEMS, PASSES = 200, 20
RANDOM = np.random.default_rng(0)
CLOUD = RANDOM.standard_normal((300, 2))
COLLAPSING = {
    "a row for each component": (CLOUD[:3], 3),
    "three rows for each component": (CLOUD[:60], 20),
    "dependent columns": (np.c_[CLOUD, CLOUD @ [1.0, 2.0]], 3),
    "more columns than rows": (RANDOM.standard_normal((5, 20)), 3),
    "many more columns than rows": (RANDOM.standard_normal((30, 64)), 4),
    "a constant column": (np.c_[CLOUD, np.ones(300)], 2),
    "one row many times": (np.repeat(CLOUD[:1], 50, axis=0), 3),
    "rounded values": (np.round(CLOUD), 10),
}


def states(family: Gaussian, x: Array, components: int, seed: int) -> list[State]:
    """Return the states of a fit that starts at rows drawn at random."""
    model, frame = Mixture(family, Free()), family.frame(x.mean(axis=0))
    chunks = Chunks(x, (len(x),))
    reducer = Serial(plan(chunks, chunks.atoms(), ModelSize(components, x.shape[1])).layout)
    rows = Rows.of(frame.enter(x))
    chosen = rows.values[np.random.default_rng(seed).choice(len(x), components, replace=False)]
    nearest = ((rows.values[:, None] - chosen) ** 2).sum(axis=-1).argmin(axis=1)
    start = model.start(rows, (nearest == np.arange(components)[:, None]).astype(np.float64))
    return [it.state for it in iterate([State(model, frame, start, Stopping(0.0, max_passes=PASSES))], reducer)]


def problem(seed: int) -> tuple[Array, int]:
    """Return rows of overlapping clouds of any orientation, and how many components to fit."""
    random = np.random.default_rng(seed)
    d, k = int(random.integers(1, 9)), int(random.integers(1, 7))
    n = k * (d + 1) * int(random.integers(15, 30))
    centres = 2 * random.standard_normal((k, d))
    axes = np.linalg.qr(random.standard_normal((d, d)))[0] * np.exp(random.uniform(-1.5, 1.5, d))
    return centres[random.integers(k, size=n)] + random.standard_normal((n, d)) @ axes, k


@pytest.mark.parametrize("regularization", [0.0, 1e-6, 1e-4, 1e-2, 1e-1])
def test_the_blurred_one_over_random_problems(regularization: float) -> None:
    covariances = list(COVARIANCES.values())
    falls = []
    for seed in range(PROBLEMS):
        x, components = problem(seed)
        family = Gaussian(covariances[seed % 4], regularization, blurred=True)
        history = states(family, x, components, seed)[-1].history
        falls.append(np.diff([entry.objective for entry in history]).min())
    assert len(falls) == PROBLEMS
    assert min(falls) > -1e-10


def test_the_plain_one_falls_where_the_blurred_one_does_not() -> None:
    falls = {}
    for blurred in (False, True):
        runs = (states(Gaussian(COVARIANCES["full"], 0.1, blurred), *problem(seed), seed)[-1] for seed in range(20))
        falls[blurred] = min(np.diff([entry.objective for entry in run.history]).min() for run in runs)
    assert falls[False] < -1e-6
    assert falls[True] > -1e-10


@pytest.mark.parametrize("covariance", COVARIANCES.values(), ids=lambda covariance: covariance.name)
@pytest.mark.parametrize("name", list(COLLAPSING))
def test_that_of_collapsing_components(name: str, covariance: Covariance) -> None:
    x, components = COLLAPSING[name]
    run = states(Gaussian(covariance, 0.0), x, components, 1)
    rise = np.diff([entry.objective for entry in run[-1].history])
    assert rise.min() > -1e-2  # a covariance at the bound has a condition of 5e12: so much do its factors lose
    if covariance.name in ("diag", "spherical"):
        assert rise.min() > -1e-10
    if covariance.name == "full":
        assert run[-1].collapsed
    bound = run[0].params.components
    for state in run[1:]:
        components_now = state.params.components
        assert (components_now.narrowest <= bound.narrowest).all()
        assert (components_now.extent == bound.extent).all()
        bound = components_now
