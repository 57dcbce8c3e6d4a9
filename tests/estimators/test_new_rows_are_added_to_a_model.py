"""partial_fit reads new rows once and makes one M-step of all sums: what is exact in that holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import dask_em
from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.families import covariance_named
from dask_em.kernel import summarize
from dask_em.rows import Rows
from tests.families import clouds

RANDOM = np.random.default_rng(0)
OLD, NEW = clouds(RANDOM, 3000), clouds(RANDOM, 1500)
ALL = np.concatenate([OLD, NEW])
every_covariance = pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])


def mixture(**settings: Any) -> GaussianMixture:
    return GaussianMixture(**{"n_components": 3, "random_state": 0, "tol": 1e-5, "max_iter": 500, **settings})


def at_its_own_parameters(model: GaussianMixture, rows: Any) -> GaussianMixture:
    """Return the model with the sums of rows taken at the parameters that it has."""
    fitted = model._fitted
    stats = summarize((fitted.model.prepare(fitted.params, fitted.frame),), 512, Rows.of(rows)).members[0]
    model._fitted = dataclasses.replace(fitted, statistics=stats)
    return model


def close(one: GaussianMixture, other: GaussianMixture, tolerance: float) -> None:
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=0, atol=tolerance, err_msg=name)


@every_covariance
def test_a_model_that_is_not_fitted_is_fitted(covariance_type: str) -> None:
    one = mixture(covariance_type=covariance_type).partial_fit(OLD)
    assert digest(one._fitted.params) == digest(mixture(covariance_type=covariance_type).fit(OLD)._fitted.params)


@every_covariance
@pytest.mark.parametrize("accelerate", [False, True])
def test_sums_of_the_same_parameters_make_the_em_step_of_all_rows(covariance_type: str, accelerate: bool) -> None:
    settings = {"covariance_type": covariance_type, "accelerate": accelerate, "tol": 1e-2}
    begun = mixture(**settings).fit(OLD)
    whole = mixture(**settings, warm_start=True, max_iter=1)
    whole._fitted = begun._fitted
    with pytest.warns(ConvergenceWarning):
        whole.fit(ALL)
    before = begun.means_
    at_its_own_parameters(begun, OLD).partial_fit(NEW)
    assert abs(begun.means_ - before).max() > 1e-3, "the step should be one"
    close(begun, whole, 1e-12)


@every_covariance
def test_a_converged_model_makes_the_em_step_of_all_rows_nearly(covariance_type: str) -> None:
    settings = {"covariance_type": covariance_type, "tol": 1e-13, "max_iter": 3000}
    model = mixture(**settings).fit(OLD)
    exact = mixture(**settings).fit(OLD)
    at_its_own_parameters(exact, OLD).partial_fit(NEW)
    close(model.partial_fit(NEW), exact, 1e-5)


@every_covariance
def test_mean_and_covariance_of_the_mixture_are_those_of_all_rows_however_they_came(covariance_type: str) -> None:
    weight, apart = np.random.default_rng(1).uniform(0, 3, len(ALL)), np.array([0, 0, 5.0, 0])
    model = mixture(covariance_type=covariance_type, reg_covar=0.0, tol=1e-1).fit(OLD, sample_weight=weight[:3000])
    for cut in (slice(3000, 3001), slice(3001, 4000), slice(4000, 4500)):
        model.partial_fit(ALL[cut] + apart, sample_weight=weight[cut])
    rows = np.concatenate([OLD, NEW + apart])
    mean = np.average(rows, axis=0, weights=weight)
    truth = np.cov(rows.T, aweights=weight, ddof=0)
    dense = model._fitted.model.components.covariance.dense(model.covariances_, 3, 4)
    offsets = model.means_ - mean
    found = np.einsum("k,kij->ij", model.weights_, dense) + (model.weights_ * offsets.T) @ offsets
    np.testing.assert_allclose(model.weights_ @ model.means_, mean, atol=1e-12)
    held = {"diag": np.diagonal, "spherical": np.trace}.get(covariance_type, np.asarray)
    np.testing.assert_allclose(held(found), held(truth), atol=1e-11)
    assert model.n_samples_seen_ == 4500


@every_covariance
def test_one_component_is_that_of_a_fit_to_all_rows(covariance_type: str) -> None:
    settings = {"n_components": 1, "covariance_type": covariance_type}
    whole = mixture(**settings).fit(ALL)
    close(mixture(**settings).fit(OLD).partial_fit(NEW[:700]).partial_fit(NEW[700:]), whole, 1e-12)
    close(mixture(**settings).fit(NEW[:5]).partial_fit(OLD).partial_fit(NEW[5:]), whole, 1e-12)


@every_covariance
def test_weight_two_is_the_row_twice(covariance_type: str) -> None:
    weight = np.arange(len(NEW)) % 3
    weighted = mixture(covariance_type=covariance_type).fit(OLD).partial_fit(NEW, sample_weight=weight)
    repeated = mixture(covariance_type=covariance_type).fit(OLD).partial_fit(np.repeat(NEW, weight, axis=0))
    close(weighted, repeated, 1e-12)


@every_covariance
def test_components_have_no_order(covariance_type: str) -> None:
    precisions = covariance_named(covariance_type).add(np.zeros(covariance_named(covariance_type).shape(3, 4)), 1.0)
    begun = {"weights_init": np.full(3, 1 / 3), "precisions_init": precisions, "accelerate": False, "tol": 1e-3}
    models = []
    for order in ([0, 1, 2], [2, 0, 1]):
        model = mixture(covariance_type=covariance_type, **begun, means_init=OLD[order])
        models.append(model.fit(OLD).partial_fit(NEW))
    for name in ("weights_", "means_") + (() if covariance_type == "tied" else ("covariances_",)):
        one, other = (getattr(model, name) for model in models)
        np.testing.assert_allclose(other, one[[2, 0, 1]], atol=1e-8)


@every_covariance
def test_the_log_likelihood_of_all_rows_rises_and_a_warm_start_finds_the_optimum(covariance_type: str) -> None:
    settings = {"covariance_type": covariance_type, "tol": 1e-9}
    model = mixture(**settings, warm_start=True).fit(OLD)
    before = model.score(ALL)
    model.partial_fit(NEW)
    assert model.score(ALL) > before + 1e-6
    cold = mixture(**settings).fit(ALL)
    model.fit(ALL)
    assert model.converged_
    assert abs(model.lower_bound_ - cold.lower_bound_) < 1e-7
    assert model.n_iter_ < cold.n_iter_


def test_rows_that_keep_coming_are_learned_from() -> None:
    model = mixture(tol=1e-6).fit(OLD[:300])
    before = model.score(ALL)
    for start in range(300, 3000, 300):
        model.partial_fit(OLD[start : start + 300])
    best = mixture(tol=1e-6).fit(OLD).score(ALL)
    assert best - model.score(ALL) < (best - before) / 2


@every_covariance
def test_a_model_is_always_the_m_step_of_its_sums(covariance_type: str) -> None:
    settings = {"covariance_type": covariance_type, "n_components": 5, "tol": 1e-9, "init_params": "random"}
    whole = mixture(**settings).fit(OLD)
    check_sums(whole)
    stopped = next(entry.number for entry in whole.history_ if not entry.kept)  # its sums are left behind
    model = mixture(**settings)
    for iteration in model.iterate(OLD):
        if iteration.entry.number == stopped:
            break
    check_sums(model)
    check_sums(model.partial_fit(NEW[:500]))
    check_sums(model.partial_fit(NEW[500:]))


def check_sums(model: GaussianMixture) -> None:
    fitted = model._fitted
    step = fitted.model.maximize(fitted.statistics, fitted.params)
    np.testing.assert_array_equal(step.weights, fitted.params.weights)
    np.testing.assert_array_equal(step.components.means, fitted.params.components.means)
    np.testing.assert_array_equal(step.components.covariances, fitted.params.components.covariances)


def test_what_it_says_of_itself() -> None:
    model = mixture().fit(OLD)
    passes_made, score, earlier = model.n_iter_, model.score(NEW), model.history_
    model.partial_fit(NEW)
    entry = model.history_[-1]
    assert model.history_[:-1] == earlier
    assert (model.n_iter_, entry.number, entry.rows) == (passes_made + 1, passes_made + 1, 1500)
    assert entry.bytes_read >= NEW.nbytes
    assert entry.seconds > 0
    assert np.isclose(entry.log_likelihood, score, atol=1e-6)
    assert model.lower_bound_ == entry.log_likelihood
    assert np.isnan(model.bic_)
    assert not model.converged_
    assert model.outcome_.kind == "updated"
    assert model.outcome_.sentence.startswith(
        "Updated with 1,500 rows, whose sums were added to those of the 3,000 before; the log-likelihood is that of"
    )
    assert model.n_samples_seen_ == 4500
    assert model.fit(OLD).n_samples_seen_ == 3000
    assert np.isfinite(model.bic_)


def test_how_components_fare_is_told() -> None:
    lone = np.array([[1e3, 0, 0, 0]])
    model = mixture(n_components=2, means_init=[OLD[0], lone[0]], covariance_type="diag")
    model.fit(np.concatenate([OLD[:50], lone])).partial_fit(OLD[50:100])
    assert model.history_[-1].fate == (), "nothing is new"
    assert "Left with a single row: component 1." in model.outcome_.sentence
    model.partial_fit(lone + 1e-3 * OLD[:3])
    assert model.history_[-1].fate == ("component 1 recovered",)
    assert "single row" not in model.outcome_.sentence


@pytest.mark.parametrize(("old", "new"), [(1.0, 1e6), (1e-3, 1.0)])
def test_and_not_by_the_scale_of_the_new_weights(old: float, new: float) -> None:
    model = mixture(n_components=2).fit(OLD, sample_weight=np.full(len(OLD), old))
    model.partial_fit(NEW[:5], sample_weight=np.full(5, new))
    assert model.history_[-1].fate == ()
    assert "single row" not in model.outcome_.sentence


@every_covariance
def test_a_model_from_a_file_goes_on_to_the_same_bits(covariance_type: str, tmp_path: Path) -> None:
    model = mixture(covariance_type=covariance_type).fit(OLD).partial_fit(NEW[:500])
    model.save(tmp_path / "model.npz")
    again = dask_em.load(tmp_path / "model.npz").partial_fit(NEW[500:])
    assert digest(again._fitted.params) == digest(model.partial_fit(NEW[500:])._fitted.params)
    assert again.n_samples_seen_ == 4500


def test_a_fit_that_was_resumed_takes_new_rows_to_the_same_bits(tmp_path: Path) -> None:
    whole = mixture().fit(OLD).partial_fit(NEW)
    for _ in mixture().iterate(OLD, checkpoints=tmp_path):
        break
    model = mixture()
    for _ in model.iterate(OLD, checkpoints=tmp_path, resume=True):
        pass
    assert digest(model.partial_fit(NEW)._fitted.statistics) == digest(whole._fitted.statistics)


def test_a_fit_that_was_left_takes_new_rows() -> None:
    model = mixture()
    for iteration in model.iterate(OLD):
        if iteration.entry.number == 2:
            break
    assert model.partial_fit(NEW).n_samples_seen_ == 4500


def test_a_regularization_of_today_is_that_of_the_update() -> None:
    model = mixture(accelerate=False).fit(OLD).set_params(reg_covar=2.0).partial_fit(NEW)
    plain = mixture(accelerate=False, reg_covar=0.0)
    plain._fitted = mixture(accelerate=False).fit(OLD)._fitted
    difference = model.covariances_ - plain.partial_fit(NEW).covariances_
    np.testing.assert_allclose(difference, np.tile(2.0 * np.eye(4), (3, 1, 1)), atol=1e-10)


@pytest.mark.parametrize("new", [NEW + 1000, NEW / 1000], ids=["wider", "narrower"])
def test_the_extent_is_that_of_all_rows(new: Any) -> None:
    found = mixture().fit(OLD).partial_fit(new)._fitted.params.components.extent
    half = np.ptp(np.concatenate([OLD, new]), axis=0) / 2
    np.testing.assert_allclose(found, half**2, rtol=0.05)
    assert (found <= half**2 * (1 + 1e-12)).all()
