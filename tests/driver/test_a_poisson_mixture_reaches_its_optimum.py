from __future__ import annotations

import numpy as np
import pytest

from dask_em.driver import EM, LBFGS, State, Stopping, iterate
from dask_em.driver.acceleration import Method
from dask_em.families import Poisson, PoissonParameters
from dask_em.mixture import Free, Mixture, MixtureParameters
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Reducer, Serial
from dask_em.rows import Frame
from dask_em.storage import open_source

FREQUENCIES = [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]  # of 0 to 9 deaths a day (Hasselblad 1969, table 2)
OPTIMUM, WEIGHT, RATES = -1989.9458598830, 0.3598853970, (1.2560951012, 2.6634043566)
STARTS, NEAR = 200, 1e-9


@pytest.fixture(scope="module")
def deaths() -> Reducer:
    source = open_source(np.arange(10.0)[:, None], weights=np.array(FREQUENCIES))
    return Serial(plan(source, source.atoms(), ModelSize(2, 2)).layout)


def begun(seed: int, method: Method, passes: int) -> State:
    random = np.random.default_rng(seed)
    share, rates = random.uniform(0.1, 0.9), random.uniform(0.5, 5.0, 2)
    params = MixtureParameters(np.array([share, 1 - share]), PoissonParameters(rates[:, None]))
    return State(Mixture(Poisson(), Free()), Frame.identity(1), params, Stopping(0.0, max_passes=passes), method=method)


def evaluations(state: State, reducer: Reducer) -> int:
    """Return how many passes it takes to within NEAR of the optimum, in nats of all rows."""
    total = sum(FREQUENCIES)
    for iteration in iterate([state], reducer):
        if iteration.entry.objective * total > OPTIMUM - NEAR:
            return iteration.entry.number
    return 10**9


def test_in_few_evaluations_from_anywhere(deaths: Reducer) -> None:
    needed = [evaluations(begun(seed, LBFGS(), 500), deaths) for seed in range(STARTS)]
    assert np.median(needed) <= 25
    assert max(needed) < 10**9, "every start reaches it"


def test_where_the_parameters_are_those_of_the_literature(deaths: Reducer) -> None:
    *_, last = iterate([begun(0, LBFGS(), 60)], deaths)
    order = np.argsort(last.state.reached.components.rates[:, 0])
    np.testing.assert_allclose(last.state.reached.weights[order][0], WEIGHT, rtol=1e-5)
    np.testing.assert_allclose(last.state.reached.components.rates[order, 0], RATES, rtol=1e-5)


@pytest.mark.slow
def test_where_plain_em_takes_thousands(deaths: Reducer) -> None:
    needed = [evaluations(begun(seed, EM(), 10_000), deaths) for seed in range(5)]
    assert np.median(needed) > 1000
