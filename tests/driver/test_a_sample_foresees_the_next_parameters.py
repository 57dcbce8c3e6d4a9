from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dask_em import GaussianMixture, select
from dask_em._record import digest
from dask_em.driver import LBFGS, Checkpoints, Foresight, State, Stopping, foreseen, iterate, passes
from dask_em.driver.initialization import STARTS
from dask_em.estimators import foreseeing
from dask_em.families import COVARIANCES, Gaussian, Poisson
from dask_em.family import Family
from dask_em.kernel import summarize
from dask_em.mixture import Free, Mixture
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Reducer, Serial
from dask_em.rows import Rows
from dask_em.storage import open_source

Array = np.ndarray[Any, Any]
N, SAMPLE, K = 40_000, 8_000, 4
FAMILIES: dict[str, Family[Any, Any]] = {
    **{name: Gaussian(covariance, 0.0) for name, covariance in COVARIANCES.items()},
    "blurred": Gaussian(COVARIANCES["full"], 1e-2, blurred=True),
    "poisson": Poisson(),
}


def clouds(n: int, seed: int = 1) -> Array:
    random = np.random.default_rng(seed)
    centres = 1.5 * np.random.default_rng(0).standard_normal((K, 5))
    return centres[random.integers(K, size=n)] + random.standard_normal((n, 5)) * [0.7, 1.0, 1.4, 1.0, 1.2]


def counts(n: int, seed: int = 1) -> Array:
    random, rates = np.random.default_rng(seed), np.array([[1.0, 8, 3], [4, 2, 3], [9, 9, 1], [3, 5, 9]])
    return random.poisson(rates[random.integers(K, size=n)]).astype(float)


def over(x: Array) -> Reducer:
    source = open_source(x)
    return Serial(plan(source, source.atoms(), ModelSize(K, 21)).layout)


def begun(family: Family[Any, Any], x: Array, tolerance: float = 1e-11) -> State:
    model: Mixture[Any] = Mixture(family, Free())
    frame = family.frame(x.mean(axis=0))
    rows = Rows.of(frame.enter(x[:SAMPLE]))
    params = model.start(rows, STARTS["kmeans"](rows, K, np.random.RandomState(0)))
    return State(model, frame, params, Stopping(tolerance, max_passes=400), method=LBFGS())


def climbed(state: State, reducer: Reducer, sample: Reducer | None = None) -> list[State]:
    """Return the state after each pass; with a sample, it foresees."""

    def by_sample(states: Any) -> list[State]:
        return [foreseen(each, sample, N / sample.layout.rows) for each in states] if sample else list(states)

    return [part.state for (part,) in passes([state], reducer, foreseen=by_sample)]


def taken(states: list[State], goal: float) -> int:
    return int(np.argmax([state.objective >= goal - 1e-6 for state in states])) + 1


@pytest.mark.parametrize("name", list(FAMILIES))
def test_so_that_passes_are_fewer(name: str) -> None:
    x = counts(N) if name == "poisson" else clouds(N)
    state, all_rows, sample = begun(FAMILIES[name], x), over(x), over(x[:SAMPLE])
    (*_, there) = iterate([state], sample)
    onward = dataclasses.replace(state, params=there.state.reached, method=there.state.method.carried())
    without = climbed(onward, all_rows)
    with_it = climbed(dataclasses.replace(onward, foresight=Foresight()), all_rows, sample)
    goal = max(without[-1].objective, with_it[-1].objective)
    assert with_it[-1].objective == pytest.approx(without[-1].objective, abs=1e-8)
    assert taken(with_it, goal) <= 4
    assert taken(with_it, goal) < taken(without, goal)


@pytest.mark.parametrize("other", ["moved", "wider", "one cloud", "few"])
def test_and_a_sample_of_other_rows_does_no_harm(other: str) -> None:
    x = clouds(N)
    misleading = {
        "moved": x[:SAMPLE] + 1.0,
        "wider": 3 * x[:SAMPLE],
        "one cloud": np.random.default_rng(0).standard_normal((SAMPLE, 5)),
        "few": x[:60],
    }[other]
    state, all_rows = dataclasses.replace(begun(FAMILIES["full"], x), foresight=Foresight()), over(x)
    states = climbed(state, all_rows, over(misleading))
    assert np.diff([each.objective for each in states]).min() >= -1e-12
    last = states[-1]
    assert last.outcome
    assert last.outcome.converged
    assert last.kept
    assert last.kept.gain < 1e-10
    assert not last.collapsed


@pytest.mark.parametrize("name", list(FAMILIES))
def test_and_fixed_points_are_those_of_em(name: str) -> None:
    x = counts(N) if name == "poisson" else clouds(N)
    state, all_rows, sample = begun(FAMILIES[name], x, 1e-10), over(x), over(x[:SAMPLE])
    (*_, last) = climbed(state, all_rows)
    assert last.kept
    hopeful = (*last.history[:-1], dataclasses.replace(last.history[-1], left=1.0))  # or nothing is tried there
    going = dataclasses.replace(last, outcome=None, history=hopeful, foresight=Foresight(), params=state.params)
    found = foreseen(going, sample, N / SAMPLE)
    assert found.foresight
    assert found.foresight.tried
    elsewhere = sample.total(partial(summarize, (state.model.prepare(last.kept.params, state.frame),), 1024)).members[0]
    of_sample = state.model.change(state.model.maximize(elsewhere, last.kept.params), last.kept.params)
    assert state.model.change(found.params, last.kept.params) < 0.1 * of_sample


def test_and_a_fit_that_it_helps_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreseeing, "MANY", 100_000)
    x = clouds(120_000)
    settings: dict[str, Any] = {"tol": 1e-9, "random_state": 0}

    def fitted(folder: str, most: int, resume: bool = False) -> GaussianMixture:
        model = GaussianMixture(K, max_iter=most, **settings)
        for _ in model.iterate(x, checkpoints=tmp_path / folder, resume=resume):
            pass
        return model

    expected = fitted("whole", 100)
    for most in (2, 3, 100):
        got = fitted("parts", most, resume=most > 2)
    assert expected.n_iter_ > 3
    assert digest(got._fitted.params) == digest(expected._fitted.params)
    assert [entry.objective for entry in got._fitted.history] == [e.objective for e in expected._fitted.history]
    found = Checkpoints(tmp_path / "parts").newest()
    assert found
    assert found.sample
    assert len(found.sample.values) == 20_000
    assert found.states[0].foresight


def test_but_not_where_the_next_pass_only_confirms_the_end() -> None:
    x = clouds(N)
    state, all_rows = dataclasses.replace(begun(FAMILIES["full"], x, 1e-3), foresight=Foresight()), over(x)
    *_, last, confirmed = climbed(state, all_rows, over(x[:SAMPLE]))
    assert last.history[-1].left < 1e-3 / 3
    assert confirmed.foresight
    assert not confirmed.foresight.tried


def helped(rows: int, components: int = 2, weight: Array | None = None) -> bool:
    """Say whether the sample foresees anything in a fit of so many rows."""
    model = GaussianMixture(components, random_state=0, max_iter=1, tol=1e-2, init_params="random_from_data")
    return any(part.state.foresight is not None for part in model.iterate(clouds(rows), sample_weight=weight))


def test_but_not_where_it_knows_too_little_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not helped(120_000)  # whose passes take no time
    monkeypatch.setattr(foreseeing, "MANY", 0)
    assert helped(120_000)
    assert not helped(90_000)
    assert not helped(120_000, components=20)
    assert not helped(120_000, weight=np.exp(3 * np.random.default_rng(0).standard_normal(120_000)))


def test_and_weights_and_rows_that_are_held_out_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreseeing, "MANY", 100_000)
    x, weight = clouds(150_000), np.random.default_rng(2).uniform(0, 3, 150_000)
    settings: dict[str, Any] = {"tol": 1e-9, "random_state": 0, "holdout": 0.2}
    with_it = select(x, [K], sample_weight=weight, **settings).best_estimator_
    monkeypatch.setattr(foreseeing, "KNOWS", np.inf)
    without = select(x, [K], sample_weight=weight, **settings).best_estimator_
    assert with_it.lower_bound_ == pytest.approx(without.lower_bound_, abs=1e-7)
    assert with_it.n_iter_ < without.n_iter_
