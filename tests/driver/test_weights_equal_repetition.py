from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from dask_em._record import dump
from dask_em.driver import EM, LBFGS, Squarem, State, Stopping, iterate
from dask_em.driver.examination import examine
from dask_em.driver.initialization import STARTS
from dask_em.families import COVARIANCES, Gaussian, Poisson
from dask_em.kernel import reference, summarize
from dask_em.mixture import Free, Mixture, MixtureStatistics
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Serial
from dask_em.rows import Rows
from dask_em.statistics import Joint
from dask_em.storage import open_source
from tests.families import clouds, counts, many_columns

Array = np.ndarray[Any, Any]
N, K, PASSES = 4000, 3, 10
WEIGHTS = np.random.default_rng(0).integers(0, 4, N)
FAMILIES = {
    **{name: Gaussian(covariance, 0.0) for name, covariance in COVARIANCES.items()},
    **{f"{name}, blurred": Gaussian(covariance, 1e-2, blurred=True) for name, covariance in COVARIANCES.items()},
    "poisson": Poisson(),
}
DRAWS = {"narrow": clouds, "wide": many_columns, "far": lambda random, n: clouds(random, n) + 1e4}
CASES = [(family, rows) for family in FAMILIES for rows in (DRAWS if family != "poisson" else ["counts"])]
METHODS = {"EM": EM(), "SQUAREM": Squarem(), "LBFGS": LBFGS()}


@dataclass(frozen=True)
class Fit:
    """The rows of a fit, and where it begins."""

    reducer: Serial
    state: State

    def statistics(self, *, compiled: bool) -> MixtureStatistics:
        state, tile_rows = self.state, self.reducer.layout.tile_rows
        prepared = (state.model.prepare(state.params, state.frame),)
        kernel = partial(summarize, prepared, tile_rows)
        plain = lambda rows: Joint(reference.summarize(prepared, tile_rows, rows))  # noqa: E731
        return self.reducer.total(kernel if compiled else plain).members[0]  # type: ignore[no-any-return]

    def states(self) -> list[State]:
        return [iteration.state for iteration in iterate([self.state], self.reducer)]


def over(values: Array, weights: Array | None) -> Serial:
    source = open_source(values, weights=weights)
    return Serial(plan(source, source.atoms(), ModelSize(K, 15)).layout)


def fits(family: str, rows: str, method: str = "EM") -> tuple[Fit, Fit]:
    """Return a fit of weighted rows and one of repeated rows, which begin with the same frame and parameters."""
    x = (DRAWS | {"counts": counts})[rows](np.random.default_rng(1), N)
    model: Mixture[Any] = Mixture(FAMILIES[family], Free())
    frame = model.components.frame(np.average(x, axis=0, weights=WEIGHTS))
    inside = Rows.of(frame.enter(x), WEIGHTS)
    start = model.start(inside, STARTS["kmeans"](inside, K, np.random.RandomState(0)))
    state = State(model, frame, start, Stopping(0.0, max_passes=PASSES), method=METHODS[method])
    return Fit(over(x, WEIGHTS), state), Fit(over(np.repeat(x, WEIGHTS, axis=0), None), state)


@pytest.mark.parametrize("compiled", [True, False], ids=["kernel", "reference"])
@pytest.mark.parametrize(("family", "rows"), CASES)
def test_the_statistics_of_a_pass_are_the_same(family: str, rows: str, compiled: bool) -> None:
    weighted, repeated = (fit.statistics(compiled=compiled) for fit in fits(family, rows))
    assert weighted.weight == repeated.weight == WEIGHTS.sum()
    assert abs(weighted.log_likelihood / repeated.log_likelihood - 1) < 1e-12
    found, expected = dump(weighted)[1], dump(repeated)[1]
    assert found.keys() == expected.keys()
    for path, sums in expected.items():
        scale = np.broadcast_to(np.abs(sums).max(axis=0), sums.shape)  # of a sum over the components
        np.testing.assert_array_less(np.abs(found[path] - sums), 1e-12 * scale + 1e-300, err_msg=path)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("family", "rows"), [case for case in CASES if case[1] != "far"])
def test_the_parameters_after_ten_passes_are_the_same(family: str, rows: str, method: str) -> None:
    weighted, repeated = (fit.states() for fit in fits(family, rows, method))
    assert len(weighted) == len(repeated) == PASSES
    for one, other in zip(weighted, repeated, strict=True):  # in units of the components' own spread
        assert one.model.change(one.reached, other.reached) < 1e-8
        assert one.history[-1].kept == other.history[-1].kept
    assert abs(weighted[-1].objective / repeated[-1].objective - 1) < 1e-12


def test_pass_0_sees_the_same_rows() -> None:
    x = clouds(np.random.default_rng(1), N)
    x[WEIGHTS == 0] *= 1e6  # what is absent may lie anywhere
    weighted, repeated = (
        examine(over(values, weights), 2 * N, seed=0)
        for values, weights in ((x, WEIGHTS), (np.repeat(x, WEIGHTS, axis=0), None))
    )
    assert weighted.weight == repeated.weight
    np.testing.assert_allclose(weighted.mean, repeated.mean, atol=1e-13)
    np.testing.assert_array_equal(weighted.extent.low, repeated.extent.low)
    np.testing.assert_array_equal(weighted.extent.high, repeated.extent.high)
    assert len(weighted.sample.values) == weighted.present == (WEIGHTS > 0).sum()
