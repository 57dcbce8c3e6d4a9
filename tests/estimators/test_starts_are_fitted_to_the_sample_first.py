from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dask_em import GaussianMixture
from dask_em.driver import Iteration, examination
from dask_em.estimators import foreseeing

Array = np.ndarray[Any, Any]
SETTINGS: dict[str, Any] = {"tol": 1e-6, "random_state": 0, "max_iter": 300}


def rows(n: int) -> Array:
    random = np.random.default_rng(0)
    centres = 1.5 * random.standard_normal((5, 3))
    return centres[random.integers(5, size=n)] + random.standard_normal((n, 3))


def passes(model: GaussianMixture, x: Array) -> list[Iteration]:
    return list(model.iterate(x))


def test_so_that_few_passes_see_all_rows() -> None:
    x = rows(120_000)
    ours, plain = (GaussianMixture(5, accelerate=accelerate, **SETTINGS) for accelerate in (True, False))
    passes(ours, x)
    passes(plain, x)
    assert ours.converged_
    assert ours.n_iter_ < plain.n_iter_ / 3
    assert ours.lower_bound_ > plain.lower_bound_ - 1e-3


def test_and_fewer_yet_where_rows_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreseeing, "MANY", np.inf)  # the sample that is fitted alone, without what it foresees later
    x = rows(500_000)
    settings = SETTINGS | {"tol": 1e-9}
    more = passes(GaussianMixture(5, **settings), x)
    monkeypatch.setattr(examination, "REFINING_ROWS", 0)
    fewer = passes(GaussianMixture(5, **settings), x)
    last = max(more[-1].entry.objective, fewer[-1].entry.objective)
    assert more[-1].entry.objective == pytest.approx(fewer[-1].entry.objective, abs=1e-5)
    assert len(more) < len(fewer)
    assert last - more[0].entry.objective < 0.5 * (last - fewer[0].entry.objective)


def test_and_only_the_best_of_several_starts() -> None:
    model = GaussianMixture(5, n_init=6, init_params="random_from_data", **SETTINGS)
    members = {iteration.member for iteration in passes(model, rows(120_000))}
    assert len(members) <= 2


@pytest.mark.parametrize("given", [{"means_init": rows(5)}, {}])
def test_but_not_where_the_sample_is_nearly_all(given: dict[str, Any]) -> None:
    model = GaussianMixture(5, n_init=3, **SETTINGS, **given)
    assert {iteration.member for iteration in passes(model, rows(15_000))} == {0, 1, 2}


def test_and_not_where_the_start_is_given() -> None:
    x = rows(60_000)
    start = {"weights_init": np.full(5, 0.2), "means_init": x[:5], "precisions_init": np.tile(np.eye(3), (5, 1, 1))}
    first = next(iter(GaussianMixture(5, **SETTINGS, **start).iterate(x)))
    plain = next(iter(GaussianMixture(5, accelerate=False, **SETTINGS, **start).iterate(x)))
    assert first.entry.log_likelihood == pytest.approx(plain.entry.log_likelihood, abs=1e-9)


def test_and_not_where_a_cluster_may_be_missed_by_the_sample() -> None:
    x, few = rows(200_000), np.arange(0, 200_000, 20_000)
    x[few] += 150.0
    begun = GaussianMixture(6, max_iter=0, random_state=5).fit(x)  # whose sample has none of the few
    assert not (begun.means_[:, 0] > 100).any()
    all_rows = GaussianMixture(6, init_params="k-means||", random_state=5).fit(x)
    far = all_rows.means_[:, 0] > 100
    assert far.sum() == 1
    assert all_rows.weights_[far] * len(x) == pytest.approx(len(few))
    theirs = all_rows.to_sklearn().set_params(tol=0.1).fit(x[::100])
    assert theirs.init_params == "kmeans"  # the nearest that scikit-learn knows
