"""Whatever is wrong with the data or the start, a fit ends with a model that can be used, and tells what happened."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from dask_em import GaussianMixture

Array = np.ndarray[Any, Any]
COVARIANCES = ["full", "tied", "diag", "spherical"]
FLAWS = {
    "none": lambda x, random: x,
    "constant columns": lambda x, random: np.c_[np.full((len(x), 2), [3.0, 0.0]), x],
    "only constant columns": lambda x, random: np.full_like(x, 0.1),
    "dependent columns": lambda x, random: np.c_[x, x @ random.standard_normal((x.shape[1], 2))],
    "twin columns": lambda x, random: np.repeat(x, 2, axis=1),
    "more columns than rows": lambda x, random: np.c_[x, random.standard_normal((len(x), len(x) + 3))],
    "duplicate rows": lambda x, random: x[random.integers(max(len(x) // 4, 1), size=len(x))],
    "few distinct rows": lambda x, random: x[random.integers(min(3, len(x)), size=len(x))],
    "rounded": lambda x, random: np.round(x),
    "a distant row": lambda x, random: np.r_[x[:-1], x[-1:] + 1e6],
    "columns of all sizes": lambda x, random: x * 10.0 ** random.integers(-8, 9, x.shape[1]),
    "far from zero": lambda x, random: x + 1e5,
}


@st.composite
def problems(draw: st.DrawFn) -> tuple[Array, dict[str, Any], Array | None]:
    """Return rows, the estimator's arguments and weights."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(2, 40)), draw(st.integers(1, 5))
    components = draw(st.integers(1, min(n, 6)) | st.just(min(n, 8)))
    rows = random.standard_normal((n, d)) + 3.0 * random.integers(3, size=(n, 1))
    for flaw in draw(st.lists(st.sampled_from(list(FLAWS)), max_size=2)):
        rows = FLAWS[flaw](rows, random)
    rows = rows.astype(draw(st.sampled_from([np.float32, np.float64])))
    chosen: dict[str, Any] = {
        "n_components": components,
        "covariance_type": draw(st.sampled_from(COVARIANCES)),
        "reg_covar": draw(st.sampled_from([0.0, 1e-6, 1e-3])),
        "init_params": draw(st.sampled_from(["kmeans", "k-means++", "random", "random_from_data"])),
        "reseed": draw(st.booleans()),
        "tol": draw(st.sampled_from([1e-3, 1e-8])),
        "max_iter": draw(st.sampled_from([1, 2, 30])),
        "random_state": draw(st.integers(0, 9)),
    }
    means = np.asarray(rows[random.integers(n, size=components)], np.float64)
    start = draw(st.sampled_from(["found", "duplicated", "distant"]))
    if start == "duplicated":
        chosen["means_init"] = np.repeat(means[:1], components, axis=0)
    if start == "distant":
        chosen["means_init"] = np.r_[means[:-1], means[-1:] + 1e4 * (1 + np.abs(rows).max())]
    weights = draw(st.sampled_from([None, random.uniform(0.1, 5.0, n), np.r_[np.ones(n - 1), 1e6]]))
    return rows, chosen, weights


def check(rows: Array, chosen: dict[str, Any], weights: Array | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Stopped after|Component|Left with", ConvergenceWarning)
        model = GaussianMixture(**chosen).fit(rows, sample_weight=weights)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert np.isfinite(getattr(model, name)).all(), name
    assert np.isclose(model.weights_.sum(), 1.0)
    assert np.isfinite(model.lower_bounds_).all()
    assert np.isfinite(model.score_samples(rows)).all()
    assert np.allclose(model.predict_proba(rows).sum(axis=1), 1.0)
    family = model._fitted.model.components
    dense = family.covariance.dense(model.covariances_, *model.means_.shape)
    np.linalg.cholesky(dense)
    _told(model)


def _told(model: GaussianMixture) -> None:
    """See that the history and the outcome say the same of each component."""
    fares: dict[str, str] = {}
    for entry in model.history_:
        for sentence in entry.fate:
            word, number, what = sentence.split(" ", 2)
            assert word == "component"
            fares[number] = "" if what == "recovered" or what.startswith("was moved") else what
    kinds = {"emptied": "emptied", "collapsed": "collapsed onto too few distinct rows"}
    for kind, sentence in kinds.items():
        if model.outcome_.kind == kind:
            assert sentence in fares.values()
        assert (sentence in fares.values()) == (sentence in model.outcome_.sentence)
    assert ("is down to a single row" in fares.values()) == ("Left with a single row" in model.outcome_.sentence)


COMMON: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


@settings(max_examples=40, phases=[Phase.generate], **COMMON)
@given(problem=problems())
def test_a_few_cases(problem: tuple[Array, dict[str, Any], Array | None]) -> None:
    check(*problem)


@pytest.mark.slow
@pytest.mark.parametrize("covariance_type", COVARIANCES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=150, **COMMON)
@given(problem=problems())
def test_many_cases(
    covariance_type: str, dtype: type[np.floating[Any]], problem: tuple[Array, dict[str, Any], Array | None]
) -> None:
    rows, chosen, weights = problem
    check(rows.astype(dtype), chosen | {"covariance_type": covariance_type}, weights)


def test_and_constant_columns_are_named(caplog: pytest.LogCaptureFixture) -> None:
    x = np.random.default_rng(0).standard_normal((500, 9))
    x[:, [1, 2]] = 7.0
    with caplog.at_level("WARNING", "dask_em"):
        GaussianMixture(2, random_state=0).fit(x)
    assert [record.message for record in caplog.records if "constant" in record.message] == [
        "constant in array: column 1, column 2; they tell no component from another, and are best left out"
    ]
