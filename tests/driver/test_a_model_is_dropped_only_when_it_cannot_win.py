"""Criteria order models as their formulas say; a model ends only where generous hopes fall short of what is reached."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from dask_em.driver import BIC, CRITERIA, EM, Entry, Known, Outcome, Rivals, State, Stopping, criterion_named, known
from dask_em.driver.acceleration import Point
from dask_em.errors import InputError
from dask_em.families import Full, Gaussian, GaussianParameters
from dask_em.mixture import Free, Mixture, MixtureParameters
from dask_em.rows import Frame

KNOWN = Known(log_likelihood=-2.0, entropy=0.5, held_out=-2.1, parameters=10, rows=1000.0)


def test_by_their_formulas() -> None:
    assert {name: each.value(KNOWN) for name, each in CRITERIA.items()} == pytest.approx(
        {
            "bic": 4000 + 10 * math.log(1000),
            "aic": 4020,
            "icl": 4000 + 10 * math.log(1000) + 1000,
            "holdout": 2.1,
        }
    )


def test_that_hopes_make_better() -> None:
    for criterion in CRITERIA.values():
        assert criterion.value(KNOWN.hoping(0.1)) < criterion.value(KNOWN)
    assert KNOWN.hoping(9.0).entropy == 0


def test_and_that_are_known_by_name() -> None:
    with pytest.raises(InputError, match="Did you mean 'aic'"):
        criterion_named("aicc")


PARAMS = MixtureParameters(np.ones(1), GaussianParameters(np.zeros((1, 1)), np.ones((1, 1, 1))))


def state(objectives: list[float], left: float = float("nan"), name: str = "") -> State:
    """Return a fit that has come to these objectives, with so much left to gain as its method sees it."""
    history = tuple(
        Entry(i, 100, value, value, value, 0.0, 0.1, 50.0, left=left) for i, value in enumerate(objectives, 1)
    )
    kept = Point(PARAMS, PARAMS, objectives[-1], 0.0)
    model = Mixture(Gaussian(Full(), 0.0), Free())
    stopping = Stopping(1e-6, max_passes=20)
    return State(model, Frame.identity(1), PARAMS, stopping, history, method=EM(), kept=kept, name=name)


RIVALS = Rivals(BIC(), 1e6, alone=3)
GOOD = state([-3.0, -2.0, -1.0], left=1e-3, name="the good one")


def ended(other: State) -> Outcome | None:
    return RIVALS.remaining([GOOD, other])[1].outcome


def test_when_ten_times_what_is_left_is_too_little() -> None:
    outcome = ended(state([-3.0, -2.0, -1.5], left=0.04))
    assert outcome is not None
    assert outcome.kind == "dropped"
    assert "that of the good one is 2,000,0" in outcome.sentence
    assert ended(state([-3.0, -2.0, -1.5], left=0.06)) is None


def test_when_em_would_not_be_there_in_all_its_passes() -> None:
    assert ended(state([-1.5004, -1.5002, -1.5])) is not None
    assert ended(state([-3.0, -2.0, -1.5])) is None, "17 more rises of 0.5"


def test_not_before_it_had_a_few_passes() -> None:
    assert ended(state([-9.0, -8.999], left=0.0)) is None
    slow = state([-9.0, -8.999, -8.998], left=0.0)
    assert ended(slow) is not None
    assert Rivals(BIC(), 1e6, alone=4).remaining([GOOD, slow])[1] is slow


def test_not_for_one_that_is_as_good() -> None:
    assert ended(state([-1.0, -1.0, -1.0], left=0.0)) is None


def test_not_a_restart_of_the_same_model_unless_it_was_fitted_to_the_sample() -> None:
    restart = state([-2.0, -2.0, -2.0], left=0.0, name="the good one")
    assert ended(restart) is None
    dropped = dataclasses.replace(restart, foretold=KNOWN)
    assert ended(dropped) is not None
    outcome = RIVALS.remaining([GOOD, dropped])[1].outcome
    assert outcome is not None
    assert "and that of another restart is" in outcome.sentence


def test_not_before_it_has_had_time_where_no_sample_has_spoken() -> None:
    patient = Rivals(BIC(), 1e6)
    short, long = (state([-2.0] * passes, left=0.0) for passes in (19, 20))
    assert patient.remaining([GOOD, short])[1].running
    assert patient.remaining([GOOD, long])[1].dropped
    assert patient.remaining([GOOD, dataclasses.replace(short, foretold=KNOWN)])[1].dropped


def test_not_any_more_where_the_one_that_it_could_not_reach_collapses() -> None:
    slow = state([-2.0, -2.0, -2.0], left=0.0)
    (good, dropped) = RIVALS.remaining([GOOD, slow])
    assert dropped.dropped
    assert RIVALS.remaining([good, dropped])[1] is dropped
    spike = dataclasses.replace(good, standing=("collapsed onto too few distinct rows",))
    assert RIVALS.remaining([spike, dropped])[1].running


def test_not_for_one_with_a_collapsed_component() -> None:
    spike = dataclasses.replace(GOOD, standing=("collapsed onto too few distinct rows",))
    (_, other) = RIVALS.remaining([spike, state([-2.0, -2.0, -2.0], left=0.0)])
    assert other.running


def test_not_by_one_whose_criterion_may_still_rise() -> None:
    rivals = Rivals(CRITERIA["icl"], 1e6, alone=3)
    other = state([-2.0, -2.0, -2.0], left=0.0)
    assert rivals.remaining([GOOD, other])[1].running
    sure = dataclasses.replace(GOOD, outcome=Outcome("converged", "Converged."))
    assert rivals.remaining([sure, other])[1].dropped


def test_with_what_is_foretold_beside_what_another_reached() -> None:
    foretold, better = (dataclasses.replace(KNOWN, log_likelihood=at, held_out=at - 1) for at in (-5.0, -4.0))
    reached = dataclasses.replace(KNOWN, log_likelihood=-4.5, held_out=-5.25)
    told = foretold.beside(better, reached)
    assert (told.log_likelihood, told.held_out) == (-5.5, -6.25)


def test_with_the_samples_word_until_there_are_passes() -> None:
    fresh = dataclasses.replace(GOOD, history=(), kept=None, foretold=KNOWN)
    assert known(fresh, 1000.0) is KNOWN
    assert known(dataclasses.replace(fresh, foretold=None), 1000.0) is None
    assert RIVALS.value(dataclasses.replace(fresh, foretold=None)) == math.inf
