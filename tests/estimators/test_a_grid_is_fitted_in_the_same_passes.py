"""Several models share each read; those that cannot be the best are dropped; the best by a criterion is kept."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture

from dask_em import GaussianMixture, GaussianMixtureSearch, select
from dask_em.errors import InputError
from dask_em.kernel import Holdout
from dask_em.rows import Rows
from dask_em.storage.source import Atom
from tests.sources import Chunks

Array = np.ndarray[Any, Any]
SETTINGS: dict[str, Any] = {"tol": 1e-5, "random_state": 0}


def clouds(n: int) -> Array:
    """Return rows of four round clouds in three columns."""
    random = np.random.default_rng(1)
    centres = np.array([[0, 0, 0], [6, 0, 0], [0, 6, 0], [0, 0, 6.0]])
    return centres[random.integers(4, size=n)] + random.standard_normal((n, 3))


FEW, MANY = clouds(6_000), clouds(60_000)


@pytest.fixture(scope="module")
def chosen() -> GaussianMixtureSearch:
    return select(MANY, [2, 4, 6], ["full", "spherical"], **SETTINGS)


def test_and_the_best_is_the_one_that_made_the_rows(chosen: GaussianMixtureSearch) -> None:
    assert chosen.results_[chosen.best_index_].name == "4 components, spherical"
    assert chosen.best_estimator_.n_components == 4
    centres = chosen.best_estimator_.means_
    assert np.abs(np.sort(centres.max(axis=1)) - [0, 6, 6, 6]).max() < 0.1
    assert (chosen.predict(MANY[:100]) == chosen.best_estimator_.predict(MANY[:100])).all()


def test_whose_criteria_are_scikit_learns_of_the_same_model() -> None:
    search = select(FEW, [2, 4], ["full", "tied", "diag", "spherical"], drop=False, **SETTINGS | {"tol": 1e-9})
    for told, model in zip(search.results_, search.estimators_, strict=True):
        assert model is not None
        other = model.to_sklearn()
        assert isinstance(other, SklearnGaussianMixture)
        assert told.bic == pytest.approx(other.bic(FEW), rel=1e-7)
        assert told.aic == pytest.approx(other.aic(FEW), rel=1e-7)
        shares = other.predict_proba(FEW)
        entropy = -np.sum(shares * np.log(np.maximum(shares, 1e-300)))
        assert told.icl == pytest.approx(told.bic + 2 * entropy, rel=1e-5)
        assert math.isnan(told.held_out)


def test_so_that_a_pass_reads_once_for_all_of_them() -> None:
    reads: list[str] = []

    @dataclasses.dataclass(frozen=True)
    class Counted(Chunks):
        def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
            reads.append(atom.place)
            return super().load(atom, rows)

    source = Counted(FEW, (1_000,) * 6)
    search = select(source, [2, 3, 4, 5, 6], ["full", "diag"], n_init=3, accelerate=False, **SETTINGS)
    assert len(search.results_) == 10
    passes = max(told.passes for told in search.results_)
    assert sum(told.passes for told in search.results_) > 2 * passes
    again = reads.copy()
    reads.clear()
    longest = max(range(10), key=lambda i: search.results_[i].passes)
    alone = clone(search.estimators_[longest]).set_params(n_init=1, max_iter=passes, tol=0.0)
    with pytest.warns(ConvergenceWarning):
        alone.fit(source)
    assert alone.n_iter_ == passes
    assert sorted(again) == sorted(reads)


def test_and_each_alone_comes_to_the_same(chosen: GaussianMixtureSearch) -> None:
    whole = select(FEW, [2, 4], ["full", "diag"], drop=False, **SETTINGS)
    for told, model in zip(whole.results_, whole.estimators_, strict=True):
        assert model is not None
        alone = clone(model).set_params(n_components=told.n_components, covariance_type=told.covariance_type).fit(FEW)
        assert alone.lower_bound_ == pytest.approx(told.log_likelihood, abs=1e-9)
        np.testing.assert_allclose(alone.means_, model.means_, atol=1e-8)


def test_where_hopeless_models_are_dropped_with_the_reason(chosen: GaussianMixtureSearch) -> None:
    whole = select(MANY, [2, 4, 6], ["full", "spherical"], drop=False, **SETTINGS)
    assert whole.best_index_ == chosen.best_index_
    told = {each.name: each for each in chosen.results_}
    assert told["2 components, full"].foretold
    assert told["2 components, full"].passes == 0
    assert "Dropped on the sample: its BIC is foretold to come to" in told["2 components, full"].outcome.sentence
    assert "at best, and that of 4 components, spherical to" in told["2 components, full"].outcome.sentence
    for dropped, fitted in zip(chosen.results_, whole.results_, strict=True):
        assert dropped.bic == pytest.approx(fitted.bic, rel=1e-2), "what is foretold is near"
    assert sum(each.passes for each in chosen.results_) < sum(each.passes for each in whole.results_)


def test_as_far_behind_the_best_as_the_sample_has_it_whatever_rows_are_held_out() -> None:
    more = {"select_by": "holdout", "holdout": 0.1} | SETTINGS
    dropping, whole = (select(MANY, [2, 4], "full", drop=drop, **more) for drop in (True, False))
    two, four = dropping.results_
    assert two.foretold
    assert dropping.best_index_ == 1
    behind, really = four.held_out - two.held_out, whole.results_[1].held_out - whole.results_[0].held_out
    assert behind == pytest.approx(really, abs=5e-2)
    figures = re.findall(r"-\d+\.\d+", two.outcome.sentence)
    assert len(figures) == 2, "log-likelihoods, with their own sign"
    assert float(figures[0]) < float(figures[1])


def test_also_on_the_way(chosen: GaussianMixtureSearch) -> None:
    search = select(FEW, [1, 4], "full", **SETTINGS | {"tol": 0.0})  # so few rows that the sample is all of them
    (one, four) = search.results_
    assert one.outcome.kind == "dropped"
    assert one.passes < four.passes
    assert one.outcome.sentence.startswith(f"Dropped after {one.passes} passes: its BIC can be expected to come to ")
    assert search.estimators_[0] is not None


def test_with_rows_held_out_that_no_model_has_seen() -> None:
    search = select(FEW, [1, 4], "full", select_by="holdout", holdout=0.25, drop=False, **SETTINGS)
    model = search.best_estimator_
    assert model.n_components == 4
    assert model._fitted.rows == pytest.approx(4500, abs=150)
    spoiled, holdout = FEW.copy(), Holdout(0.25, int(np.random.RandomState(0).randint(2**31)) + 1)
    held = holdout.holds(Rows.of(FEW))
    assert held.sum() == 6000 - model._fitted.rows
    spoiled[held] += 100.0
    other = select(spoiled, [1, 4], "full", select_by="holdout", holdout=0.25, drop=False, **SETTINGS)
    assert other.estimators_[1] is not None
    np.testing.assert_allclose(other.estimators_[1].means_, model.means_, atol=1e-9)
    last = search.results_[search.best_index_]
    assert last.held_out == pytest.approx(model.score(FEW[held]), abs=1e-4)
    assert last.log_likelihood == pytest.approx(model.score(FEW[~held]), abs=1e-4)


def table(search: GaussianMixtureSearch) -> list[Any]:
    return [dataclasses.replace(told, outcome=None) for told in search.results_]  # type: ignore[arg-type]  # sentences


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


GRID: dict[str, Any] = {"n_components": [2, 4, 5], "covariance_type": ["full", "diag"], "holdout": 0.1}


def test_whose_table_has_the_same_bits_everywhere(client: Client) -> None:
    tables = []
    for where, sizes in ((None, (10_000,) * 6), (client, (10_000,) * 6)):
        search = GaussianMixtureSearch(GaussianMixture(**SETTINGS), **GRID)
        for _ in search.iterate(Chunks(MANY, sizes), client=where):
            pass
        tables.append([dataclasses.astuple(told) for told in search.results_])
    assert repr(tables[0]) == repr(tables[1])


def test_that_can_be_resumed_to_the_same_bits(tmp_path: Path) -> None:
    def search() -> GaussianMixtureSearch:
        return GaussianMixtureSearch(GaussianMixture(**SETTINGS), **GRID)

    source, whole, stopped, resumed = Chunks(MANY, (10_000,) * 6), search(), search(), search()
    for _ in whole.iterate(source):
        pass
    with closing(stopped.iterate(source, checkpoints=tmp_path)) as steps:
        for _ in itertools.islice(steps, 5):
            pass
    for _ in resumed.iterate(source, checkpoints=tmp_path, resume=True):
        pass
    assert repr(whole.results_) == repr(resumed.results_)
    other = GaussianMixtureSearch(GaussianMixture(**SETTINGS), **GRID | {"select_by": "icl"})
    with pytest.raises(InputError, match="select_by is 'icl', and was 'bic'"):
        next(other.iterate(source, checkpoints=tmp_path, resume=True))


def test_with_weights_that_are_repetitions() -> None:
    weights = np.random.default_rng(0).integers(0, 3, len(FEW)).astype(float)
    twice = np.repeat(FEW, weights.astype(int), axis=0)
    start = {"means_init": FEW[:4], "weights_init": np.full(4, 0.25), "precisions_init": np.ones(4)}
    found = [
        select(rows, [4], "spherical", sample_weight=given, **SETTINGS, **start).results_[0]
        for rows, given in ((FEW, weights), (twice, None))
    ]
    assert found[0].bic == pytest.approx(found[1].bic, rel=1e-10)
    assert found[0].icl == pytest.approx(found[1].icl, rel=1e-8)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"n_components": []}, "n_components is .*; give whole numbers of at least 1"),
        ({"n_components": [2, 0]}, "n_components is .*; give whole numbers of at least 1"),
        ({"n_components": [2.5]}, "n_components is .*; give whole numbers of at least 1"),
        ({"n_components": [2, 2]}, "n_components is .*; give at least one value, and none twice"),
        ({"covariance_type": []}, "covariance_type is .*; give at least one value"),
        ({"covariance_type": ["ful"]}, "Did you mean"),
        ({"select_by": "bicc"}, "select_by is 'bicc', which compares nothing here. Did you mean"),
        ({"select_by": "holdout"}, "no rows are held out; say which share"),
        ({"holdout": 1.5}, "holdout is 1.5; give the share"),
        ({"estimator": GaussianMixture(warm_start=True)}, "warm_start=True starts from one last fit"),
    ],
)
def test_or_says_what_cannot_be_searched(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        GaussianMixtureSearch(**given).fit(FEW)


def test_and_a_caller_who_breaks_keeps_what_was_reached() -> None:
    search = GaussianMixtureSearch(GaussianMixture(**SETTINGS), n_components=[2, 4])
    with closing(search.iterate(FEW)) as steps:
        next(steps)
    assert {told.outcome.kind for told in search.results_} == {"stopped"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert search.predict(FEW).shape == (6000,)
        assert search.sample(3)[0].shape == (3, 3)
        assert np.isfinite(search.bic(FEW))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("regularization", [0.0, 1e-6])
def test_and_no_spike_and_no_plateau_lets_a_worse_model_win(seed: int, regularization: float) -> None:
    """Components find the heap of equal rows late, and collapse there where nothing keeps them from it."""
    random = np.random.default_rng(seed)
    rows = 4 * random.normal(size=(3, 2))[random.integers(3, size=1_000)] + random.normal(size=(1_000, 2))
    rows[:100] = 0.0
    settings = {"reg_covar": regularization, "random_state": 0}
    dropping, whole = (select(rows, [1, 3, 6], ["full", "diag"], drop=drop, **settings) for drop in (True, False))
    assert dropping.best_estimator_.bic_ == pytest.approx(whole.best_estimator_.bic_, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"select_by": "holdout", "holdout": 1e-9},
            "holdout=1e-09 holds out none of the 6,000 rows of array that have",
        ),
        ({"select_by": "holdout", "holdout": 1 - 1e-9}, "holdout=1 leaves no row of array that has a weight"),
        (
            {"sample_weight": np.full(len(FEW), 1 / len(FEW))},
            "the weights add up to 1, which BIC takes for the number of",
        ),
        ({"max_iter": 0}, "max_iter=0 makes no pass"),
        ({"select_by": None}, "select_by is None, which compares nothing here"),
        ({"covariance_type": None}, "covariance_type is None; give names"),
        ({"covariance_type": [["full"]]}, "give names, such as"),
    ],
)
def test_not_where_nothing_can_be_compared(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        select(FEW, [1, 2], **{"random_state": 0} | settings)


@pytest.mark.parametrize("template", [SklearnGaussianMixture(), "full", GaussianMixtureSearch()])
def test_not_of_what_is_no_mixture_of_ours(template: Any) -> None:
    with pytest.raises(InputError, match=r"give a dask_em\.GaussianMixture, or None"):
        GaussianMixtureSearch(template).fit(FEW)
