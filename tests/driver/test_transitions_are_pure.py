import copy
from itertools import pairwise

import numpy as np
import pytest

from dask_em._record import digest, dump, restore
from dask_em.driver import State, Stopping, advance, iterate, propose
from dask_em.driver.examination import examine, sample_size
from dask_em.driver.initialization import measured, starts
from dask_em.errors import InputError, InternalError
from dask_em.families import Full, Gaussian
from dask_em.mixture import Free, Mixture
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Serial
from dask_em.rows import Rows
from tests.families import clouds
from tests.sources import Chunks

MODEL = Mixture(Gaussian(Full(), 1e-6), Free())


@pytest.fixture(scope="module")
def reducer() -> Serial:
    chunks = Chunks(clouds(np.random.default_rng(0), 5000), (1000, 1, 2999, 1000))
    return Serial(plan(chunks, chunks.atoms(), ModelSize(3, 15)).layout)


def begin(reducer: Serial, restarts: int = 1, stopping: Stopping | None = None) -> list[State]:
    survey = examine(reducer, sample_size(4, 44), seed=0)
    frame = MODEL.components.frame(survey.mean)
    metric = measured(MODEL, survey.sample)
    draws = [(metric, np.random.RandomState(i)) for i in range(restarts)]
    rows = Rows.of(frame.enter(survey.sample.values), survey.sample.weight)
    found = starts(MODEL, rows, 3, "random_from_data", draws)
    return [State(MODEL, frame, params, stopping or Stopping(1e-5)) for _, params in found]


def test_a_state_is_not_changed_by_advancing_it(reducer: Serial) -> None:
    (state,) = begin(reducer)
    before = copy.deepcopy(dump(state))
    (iteration,) = iterate([State(state.model, state.frame, state.params, Stopping(1.0, max_passes=1))], reducer)
    assert iteration.state.history
    assert digest(restore(*before)) == digest(state)


def test_a_state_that_was_saved_goes_on_with_the_same_bits(reducer: Serial) -> None:
    whole = [it.state for it in iterate(begin(reducer), reducer)]
    resumed = restore(*dump(whole[3]))
    again = [it.state for it in iterate([resumed], reducer)]
    assert digest(again[-1].params) == digest(whole[-1].params)
    assert [e.objective for e in again[-1].history] == [e.objective for e in whole[-1].history]


def test_many_states_share_each_pass_and_keep_their_bits(reducer: Serial) -> None:
    begun = begin(reducer, 3, Stopping(1e-3))
    alone = {i: list(iterate([state], reducer))[-1].state for i, state in enumerate(begun)}
    together = list(iterate(begun, reducer))
    for i, state in alone.items():
        last = next(it for it in reversed(together) if it.member == i)
        assert digest(last.state.params) == digest(state.params)
    passes = {len(state.history) for state in alone.values()}
    assert len(passes) > 1, "the starts should end at different passes, or this shows little"


def test_the_history_tells_of_the_parameters_that_went_into_each_pass(reducer: Serial) -> None:
    states = [it.state for it in iterate(begin(reducer), reducer)]
    history = states[-1].history
    assert [e.number for e in history] == list(range(1, len(history) + 1))
    assert np.all(np.diff([e.objective for e in history]) > -1e-9)
    for entry, following in pairwise(history):
        assert following.objective - entry.objective >= entry.gain - 1e-6
        assert entry.gain >= -1e-9
        assert entry.rows == 5000
        assert entry.bytes_read > 0
        assert entry.seconds > 0


@pytest.mark.parametrize("stop_on", ["log_likelihood", "parameters"])
def test_a_fit_stops_on_what_is_asked(reducer: Serial, stop_on: str) -> None:
    state = [it.state for it in iterate(begin(reducer, 1, Stopping(1e-3, stop_on, max_passes=2000)), reducer)][-1]
    assert state.outcome is not None
    assert state.outcome.converged
    last, before = state.history[-1], state.history[-2]
    watched = last.change if stop_on == "parameters" else abs(last.objective - before.objective)
    earlier = before.change if stop_on == "parameters" else abs(before.objective - state.history[-3].objective)
    assert watched < 1e-3 <= earlier
    assert propose(state) == []


def test_a_fit_that_may_not_go_on_says_what_to_do(reducer: Serial) -> None:
    state = [it.state for it in iterate(begin(reducer, 1, Stopping(1e-9, max_passes=2)), reducer)][-1]
    assert state.outcome is not None
    assert state.outcome.kind == "max_passes"
    assert "Stopped after 2 passes, not converged" in state.outcome.sentence
    assert "Allow more passes or a larger tolerance" in state.outcome.sentence


def test_an_unknown_stopping_rule_is_refused() -> None:
    with pytest.raises(InputError, match="stop_on is 'parameter'.*Did you mean 'parameters'"):
        Stopping(1e-3, "parameter")


def test_statistics_that_are_not_finite_are_no_step(reducer: Serial) -> None:
    (state,) = begin(reducer)
    from functools import partial

    from dask_em.kernel import summarize

    stats = reducer.total(partial(summarize, (MODEL.prepare(state.params, state.frame),), 128)).members[0]
    with pytest.raises(InternalError, match="the objective of pass 1 is nan"):
        advance(state, [stats * float("nan")])
