"""Outcomes are sentences: what happened, likely why, what to try."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dask_em import GaussianMixture
from dask_em.driver.stopping import Stopping, Watched

STEADY = Watched(7, rise=1e-5, rise_before=2e-5, change=1e-3)


def test_where_the_rise_is_below_the_tolerance() -> None:
    outcome = Stopping(1e-4).judge(STEADY)
    assert outcome is not None
    assert outcome.converged
    what = "the change of the log-likelihood per row fell to 1.00e-05, below the tolerance 0.0001"
    assert outcome.sentence == f"Converged after 7 passes: {what}."
    assert Stopping(1e-6).judge(STEADY) is None


def test_where_little_is_left_twice_running() -> None:
    stopping = Stopping(3e-5)
    assert stopping.judge(Watched(7, left=(9e-6, 9e-6))) is not None
    assert stopping.judge(Watched(7, left=(2e-5, 9e-6))) is None
    assert stopping.judge(Watched(7, left=(9e-6,))) is None


def test_on_what_may_be_a_plateau() -> None:
    slow = Watched(40, rise=0.99e-4, rise_before=1e-4)
    outcome = Stopping(1.1e-4).judge(slow)
    assert outcome is not None
    assert outcome.kind == "converged"
    assert "A plateau is suspected: each rise is 0.99 of the one before, so that about 9.8e-03" in outcome.sentence
    assert "accelerate" in outcome.sentence
    quick = Stopping(1.1e-4).judge(Watched(40, rise=0.5e-4, rise_before=1e-4))
    assert quick is not None
    assert "plateau" not in quick.sentence


def test_in_the_noise_of_a_tolerance_that_rounding_cannot_tell() -> None:
    seen = Watched(30, rise=2e-13, rise_before=1e-12, noise=1e-12)
    outcome = Stopping(1e-14).judge(seen)
    assert outcome is not None
    assert (outcome.kind, outcome.converged) == ("noise", True)
    assert (
        "the change of the log-likelihood per row is 2.00e-13, and rounding alone moves it by 1.0e-12"
        in outcome.sentence
    )
    assert Stopping(0.0).judge(seen) is None, "whoever asks for no tolerance gets all passes"
    assert Stopping(1e-14, "parameters").judge(seen) is None


def test_out_of_passes() -> None:
    outcome = Stopping(1e-6, max_passes=7).judge(STEADY)
    assert outcome is not None
    assert outcome.kind == "max_passes"
    assert "Allow more passes or a larger tolerance." in outcome.sentence
    unknown = Stopping(1e-6, "parameters", max_passes=7).judge(Watched(7, change=math.inf))
    assert unknown is not None
    assert "is not known of a first pass, or of a step that was too far." in unknown.sentence


def test_not_after_a_jump() -> None:
    assert Stopping(1e6).judge(Watched(7)) is None
    assert math.isinf(Watched(7).rise)


@pytest.mark.parametrize("accelerate", [True, False])
def test_in_a_whole_fit_whose_tolerance_is_too_small(accelerate: bool) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((3_000, 2)) + 4 * random.integers(2, size=(3_000, 1))
    model = GaussianMixture(2, tol=1e-300, max_iter=400, accelerate=accelerate, random_state=0).fit(x)
    assert model.outcome_.kind == "noise"
    assert model.converged_
    assert model.n_iter_ < 200


def test_in_a_whole_fit_on_a_plateau() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((3_000, 2))
    model = GaussianMixture(4, tol=2e-5, max_iter=2000, accelerate=False, random_state=0).fit(x)
    assert "A plateau is suspected" in model.outcome_.sentence
    better = GaussianMixture(4, tol=1e-8, max_iter=9000, accelerate=False, random_state=0).fit(x)
    assert better.lower_bound_ > model.lower_bound_ + 1e-4
