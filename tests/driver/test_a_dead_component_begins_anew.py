"""With reseeding a component that emptied or collapsed goes to where the data is worst explained; else it is told."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import dask.array as da
import numpy as np
import pytest

from dask_em import GaussianMixture
from dask_em._record import digest, dump, restore
from dask_em.driver import Reseeding, State, Stopping, iterate
from dask_em.families import COVARIANCES, Gaussian, GaussianParameters
from dask_em.mixture import Free, Mixture, MixtureParameters
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Serial
from dask_em.rows import Frame
from tests.sources import Chunks

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)
CENTRES = np.array([[0.0, 0], [8, 0], [0, 20]])
X = CENTRES[np.repeat([0, 1, 2], [700, 700, 100])] + RANDOM.standard_normal((1500, 2))
FAR = np.r_[CENTRES[:2], [[1e6, 1e6]]]  # the third component gets no row
SPIKE = np.r_[CENTRES[:2], X[:1]]


def fitted(x: Array = X, **settings: Any) -> GaussianMixture:
    model = GaussianMixture(3, tol=1e-6, random_state=0, **settings)
    for _ in model.iterate(x):
        pass
    return model


@pytest.mark.parametrize("covariance_type", list(COVARIANCES))
def test_an_empty_one_finds_the_rows_that_nobody_explains(covariance_type: str) -> None:
    good = fitted(covariance_type=covariance_type, means_init=CENTRES)
    kept = fitted(covariance_type=covariance_type, means_init=FAR)
    moved = fitted(covariance_type=covariance_type, means_init=FAR, reseed=True)
    assert abs(moved.lower_bound_ - good.lower_bound_) < 1e-3
    assert kept.lower_bound_ < good.lower_bound_ - 0.1
    assert moved.outcome_.kind == "converged"
    assert "Moved to where the data was worst explained: component 2 (1 x)." in moved.outcome_.sentence
    assert kept.outcome_.kind == "emptied"
    assert kept.outcome_.sentence.startswith("Component 2 emptied: no row is left there.")
    assert kept.history_[0].fate == ("component 2 emptied",)
    assert moved.history_[0].fate == (
        "component 2 emptied",
        "component 2 was moved to where the data is worst explained",
    )


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_a_collapsed_one_does_so_too(covariance_type: str) -> None:
    good = fitted(covariance_type=covariance_type, means_init=CENTRES)
    wide, spike = 3.0, 1e8
    precisions = {
        "full": np.stack([np.eye(2) / wide, np.eye(2) / wide, np.eye(2) * spike]),
        "diag": np.array([[1 / wide] * 2, [1 / wide] * 2, [spike] * 2]),
        "spherical": np.array([1 / wide, 1 / wide, spike]),
    }[covariance_type]
    start = {"covariance_type": covariance_type, "means_init": SPIKE, "precisions_init": precisions, "reg_covar": 0.0}
    kept, moved = (fitted(**start, reseed=reseed) for reseed in (False, True))
    assert kept.outcome_.kind == "collapsed"
    assert "component 2 collapsed onto too few distinct rows" in kept.history_[0].fate
    assert abs(moved.lower_bound_ - good.lower_bound_) < 1e-3
    assert moved.outcome_.converged


def test_a_single_row_under_a_regularization_counts_as_dead() -> None:
    precisions = np.stack([np.eye(2) / 3, np.eye(2) / 3, np.eye(2) * 1e8])
    start = {"means_init": SPIKE, "precisions_init": precisions, "accelerate": False}  # the plain rule allows spikes
    kept, moved = (fitted(**start, reseed=reseed) for reseed in (False, True))
    assert "component 2 is down to a single row" in kept.history_[0].fate
    assert kept.outcome_.converged
    assert kept.outcome_.sentence.endswith("Left with a single row: component 2.")
    assert moved.score(X) > kept.score(X) + 0.1


def test_a_lone_outlier_does_not_attract_it() -> None:
    x = np.r_[X, [[300.0, 300], [-400, 100], [50, -500]]]
    model, frame = Mixture(Gaussian(COVARIANCES["full"], 0.0), Free()), Frame.identity(2)
    params = MixtureParameters(np.array([0.5, 0.5, 0.0]), GaussianParameters(FAR, np.stack([np.eye(2)] * 3)))
    params, reseeding = Reseeding.of(x, np.ones(len(x)), 3).move(model, frame, params, [2], ["", "", "emptied"])
    assert np.linalg.norm(params.components.means[2] - CENTRES[2]) < 4
    assert reseeding.moves == (0, 0, 1)
    np.testing.assert_allclose(params.weights, [5 / 12, 5 / 12, 1 / 6])


def test_none_is_moved_where_the_data_is_to_blame() -> None:
    model = fitted(np.c_[X, np.ones(1500)], reg_covar=0.0, reseed=True)
    assert model.outcome_.kind == "collapsed"
    assert not any("moved" in fate for entry in model.history_ for fate in entry.fate)


def test_it_gives_up_after_three_moves() -> None:
    x = np.repeat(X[[0, 1, 2]], [400, 400, 1], axis=0)  # a third cloud is not there
    x[:800] += RANDOM.standard_normal((800, 2))
    model = fitted(x, means_init=np.r_[x[:1], x[400:401], x[-1:] + 1e6], reg_covar=0.0, reseed=True)
    moves = [fate for entry in model.history_ for fate in entry.fate if "moved" in fate]
    assert 1 <= len(moves) <= 9
    assert all(moves.count(move) <= 3 for move in moves)
    assert np.isfinite(model.score(x))


def begun(reducer: Serial, max_passes: int = 100) -> State:
    model, frame = Mixture(Gaussian(COVARIANCES["full"], 1e-6), Free()), Frame(X.mean(axis=0))
    components = GaussianParameters(frame.enter(FAR), np.stack([np.eye(2)] * 3))
    reseeding = Reseeding.of(X, np.ones(len(X)), 3)
    stopping = Stopping(1e3, max_passes=max_passes)  # anything but the first pass is convergence
    return State(model, frame, MixtureParameters(np.full(3, 1 / 3), components), stopping, reseeding=reseeding)


@pytest.fixture(scope="module")
def reducer() -> Serial:
    chunks = Chunks(X, (500, 1000))
    return Serial(plan(chunks, chunks.atoms(), ModelSize(3, 6)).layout)


def test_the_pass_after_a_move_is_never_judged_converged(reducer: Serial) -> None:
    states = [it.state for it in iterate([begun(reducer)], reducer)]
    assert "component 2 was moved to where the data is worst explained" in states[0].history[0].fate
    assert states[1].outcome is None
    assert states[2].outcome is not None
    assert states[2].outcome.converged


def test_nothing_is_moved_after_the_last_pass(reducer: Serial) -> None:
    (only,) = [it.state for it in iterate([begun(reducer, max_passes=1)], reducer)]
    assert only.history[0].fate == ("component 2 emptied",)
    assert only.outcome is not None
    assert only.outcome.kind == "emptied"


def test_a_state_that_was_saved_after_a_move_goes_on_with_the_same_bits(reducer: Serial) -> None:
    start = begun(reducer)
    before = copy.deepcopy(dump(start))
    whole = [it.state for it in iterate([start], reducer)]
    assert digest(restore(*before)) == digest(start)
    resumed = [it.state for it in iterate([restore(*dump(whole[0]))], reducer)]
    assert digest(resumed[-1].params) == digest(whole[-1].params)
    assert [s.history[-1].fate for s in resumed] == [s.history[-1].fate for s in whole[1:]]


def test_the_record_is_bounded_and_holds_each_row_once() -> None:
    reseeding = Reseeding.of(np.round(RANDOM.standard_normal((20_000, 2))), np.ones(20_000), 3)
    assert len(np.unique(reseeding.values, axis=0)) == len(reseeding.values) < 200
    assert reseeding.weight.sum() == 5000
    assert len(Reseeding.of(np.zeros((2000, 10_000)), np.ones(2000), 1).values) == 1


def test_the_bits_do_not_depend_on_the_chunks() -> None:
    settings = {"means_init": FAR, "reseed": True}
    array = fitted(X, **settings)
    chunked = fitted(da.from_array(X, chunks=(137, 2)), **settings)
    assert array.means_.tobytes() == chunked.means_.tobytes()
    assert all(a.fate == b.fate for a, b in zip(array.history_, chunked.history_, strict=True))


def test_it_is_told_while_the_fit_runs(capsys: pytest.CaptureFixture[str]) -> None:
    GaussianMixture(3, means_init=FAR, random_state=0, reseed=True, verbose=1, verbose_interval=1).fit(X)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("start 0, pass 1: log-likelihood -")
    assert first.endswith("; component 2 emptied; component 2 was moved to where the data is worst explained")


def test_the_objective_climbs_between_moves() -> None:
    history = fitted(means_init=FAR, reseed=True).history_
    for entry, following in pairwise(history):
        if following.kept and not any("moved" in fate for fate in entry.fate):
            assert following.objective > entry.objective - 1e-8
