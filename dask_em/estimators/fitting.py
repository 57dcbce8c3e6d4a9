"""One fit, from data to a fitted mixture: the order of the steps and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em.driver import (
    EM,
    LBFGS,
    Budget,
    Checkpoint,
    Iteration,
    Outcome,
    Reseeding,
    State,
    Stopping,
    iterate,
    passes,
)
from dask_em.driver.initialization import examine, require_rows, sample_size, starts
from dask_em.errors import InputError
from dask_em.estimators.fitted import Fitted, model_size
from dask_em.estimators.freezing import Frozen, checked_frozen
from dask_em.estimators.given import (
    Given,
    arranged,
    checked_means,
    checked_precisions,
    checked_weights,
    complete,
    substitute,
)
from dask_em.estimators.reading import reading, source_of, table
from dask_em.estimators.resuming import Kept, begun_with, data_digest, resumed
from dask_em.estimators.warming import warmed
from dask_em.execution import environment
from dask_em.families import Covariance, Gaussian, GaussianParameters
from dask_em.families.gaussian import extents
from dask_em.kernel import Survey
from dask_em.mixture import Free, Mixture, MixtureParameters
from dask_em.plan import ModelSize, Plan
from dask_em.reduction import Reducer
from dask_em.rows import Frame

__all__ = ["Start", "fitting"]


@dataclass(frozen=True)
class Start:
    """What a fit starts from."""

    covariance: Covariance
    settings: dict[str, Any]  # the estimator's parameters, checked
    random: np.random.RandomState
    previous: Fitted | None  # the last fit, on a warm start

    @property
    def model(self) -> Mixture[Gaussian]:
        """The mixture to fit."""
        settings, regularization = self.settings, float(self.settings["reg_covar"])
        blurred = settings["accelerate"] and regularization > 0  # what an accelerated step climbs must not fall
        frozen = self.frozen
        family = Gaussian(self.covariance, regularization, blurred, settings["precision"], frozen.fixed)
        return Mixture(family, frozen.weighting)

    @property
    def frozen(self) -> Frozen:
        """What the fit leaves as it is."""
        return checked_frozen(self.settings["frozen"], self.settings["n_components"], self.covariance)

    def size(self, features: int, starts: int) -> ModelSize:
        """Return how large the models of a pass are, and the sample that they begin with."""
        k = self.settings["n_components"]
        parameters = k + k * features + self.covariance.degrees_of_freedom(k, features)
        size = model_size(self.model, k, features, starts)
        return dataclasses.replace(size, sample_rows=sample_size(features, parameters))


def fitting(
    start: Start, data: Any, sample_weight: Any, client: Any, kept: Kept | None = None
) -> Generator[tuple[Iteration | None, Fitted]]:
    """Yield each start's part of each pass, and the best fit so far; where no pass is left, the best fit alone."""
    settings, budget = start.settings, Budget(start.settings["max_minutes"])
    source = source_of(table(data), sample_weight=sample_weight)
    features = source.schema.features
    given = _given(start, features)
    restarts = 1 if start.previous or complete(given) else settings["n_init"]
    size, strict = start.size(features, restarts), settings["reproducible"] == "strict"
    with (
        kept.owned() if kept else nullcontext() as earlier,
        reading(source, size, client, strict=strict) as reducer,
    ):
        now = _now(start, reducer, size) if kept else None
        stopping = Stopping(float(settings["tol"]), str(settings["stop_on"]), settings["max_iter"])
        if now and earlier:
            found = resumed(earlier, now, stopping, strict)
            states, weight = list(found.states), found.weight
        else:
            states, weight = _states(start, given, reducer, stopping, restarts)

        def best() -> Fitted:
            return _best(states, source.schema.names, weight, budget)

        def save() -> None:
            if kept and now:
                kept.checkpoints.save(dataclasses.replace(now, states=tuple(states), weight=weight))

        if not earlier:
            save()
        if not any(state.running for state in states):
            yield None, best()
        for parts in _advanced(states, reducer, budget):
            save()
            for part in parts:
                yield part, best()


def _advanced(states: list[State], reducer: Reducer, budget: Budget) -> Iterator[list[Iteration]]:
    """Yield all parts of each pass, with the states brought up to date, until the time is spent."""
    for parts in passes(states, reducer):
        for part in parts:
            states[part.member] = part.state
        yield parts
        if budget.spent:
            break


def _best(states: Sequence[State], names: tuple[str, ...] | None, weight: float, budget: Budget) -> Fitted:
    """Return what the best start has come to; a dead component's objective says little."""
    state = max(states, key=lambda s: (not s.collapsed, s.objective))
    outcome = state.outcome or budget.outcome()
    return Fitted(state.model, state.frame, state.reached, names, weight, state.history, outcome, environment())


def _now(start: Start, reducer: Reducer, size: ModelSize) -> Checkpoint:
    """Return what a checkpoint says beside the states."""
    layout = reducer.layout
    told = begun_with(start.settings), Plan(layout, size).digest, data_digest(layout), layout.rows, environment()
    return Checkpoint((), 0.0, *told)


def _states(
    start: Start, given: Given, reducer: Reducer, stopping: Stopping, restarts: int
) -> tuple[list[State], float]:
    """Return where the passes begin, and the total weight of the rows."""
    model, settings = start.model, start.settings
    survey = _examined(start, reducer)
    frame = model.components.frame(survey.mean)
    params = [_spanning(begin, survey) for begin in _begin(start, given, survey, frame, restarts)]
    sample = survey.sample
    staying = model.components.fixed.means
    reseeding = (
        Reseeding.of(sample.values, sample.weight, settings["n_components"], staying) if settings["reseed"] else None
    )
    begun = None if stopping.max_passes else Outcome("fixed", "No pass was asked for: the model is its start.")
    method = LBFGS() if settings["accelerate"] else EM()
    states = [State(model, frame, p, stopping, outcome=begun, reseeding=reseeding, method=method) for p in params]
    chosen_by_us = start.previous is None and not complete(given)
    if settings["accelerate"] and chosen_by_us and begun is None:
        size = start.size(reducer.layout.source.schema.features, len(states))
        states = warmed(states, sample, survey.rows, size)
    return states, survey.weight


def _given(start: Start, features: int) -> Given:
    """Return what the user gave, with NaN for what is to be found of the components beside frozen ones."""
    settings, k, frozen = start.settings, start.settings["n_components"], start.frozen
    weights, means, precisions = settings["weights_init"], settings["means_init"], settings["precisions_init"]
    gaps = bool(frozen)
    given = (
        None if weights is None else checked_weights(weights, k, gaps),
        None if means is None else checked_means(means, k, features, gaps),
        None if precisions is None else checked_precisions(precisions, start.covariance, k, features, gaps),
    )
    if start.previous is None:
        frozen.require_given(given)
        if given[0] is not None:
            frozen.require_share(given[0])
    return given


def _examined(start: Start, reducer: Reducer) -> Survey:
    """Take pass 0."""
    size = start.size(reducer.layout.source.schema.features, 1)
    survey = examine(reducer, size.sample_rows, int(start.random.randint(2**31)))
    require_rows(survey, start.settings["n_components"])
    return survey


def _begin(start: Start, given: Given, survey: Survey, frame: Frame, restarts: int) -> list[MixtureParameters]:
    """Return where each start begins."""
    model, settings, k = start.model, start.settings, start.settings["n_components"]
    if start.previous is not None:
        moved = _moved(start.previous, frame, start.covariance, k, len(frame.centre))
        start.frozen.require_share(moved.weights)
        return [moved]
    weights, means, covariances = given
    if weights is not None and means is not None and covariances is not None and complete(given):
        return [MixtureParameters(weights, GaussianParameters(frame.enter(means), covariances))]
    seeds = [np.random.RandomState(start.random.randint(2**31)) for _ in range(restarts)]
    found = starts(model, survey, frame, k, settings["init_params"], seeds)
    if start.frozen:
        found = [arranged(params, frame, start.covariance, given) for params in found]
    return [substitute(params, frame, given) for params in found]


def _spanning(params: MixtureParameters, survey: Survey) -> MixtureParameters:
    """Return the start with the data's extent noted, which is exact in pass 0."""
    extent = extents(survey.extremes.low, survey.extremes.high)
    return dataclasses.replace(params, components=dataclasses.replace(params.components, extent=extent))


def _moved(previous: Fitted, frame: Frame, covariance: Covariance, components: int, features: int) -> MixtureParameters:
    """Return the last fit's parameters in the new frame."""
    old, kind = previous.params.components, previous.model.components.covariance.name
    if kind != covariance.name:
        raise InputError(
            f"warm_start=True, but the last fit has {kind} covariances, not {covariance.name}; "
            "set warm_start=False to start anew"
        )
    if old.means.shape != (components, features):
        raise InputError(
            f"warm_start=True, but the last fit has {old.means.shape[0]} components in {old.means.shape[1]} columns, "
            f"not {components} in {features}; set warm_start=False to start anew"
        )
    means = frame.enter(previous.frame.leave(old.means))
    return MixtureParameters(previous.params.weights, GaussianParameters(means, old.covariances))


def single(covariance: Covariance, data: Any, sample_weight: Any, client: Any) -> tuple[Any, Any]:
    """Return the mean (d,) and the covariance of one component: pass 0, and one pass about its mean."""
    source = source_of(data, sample_weight=sample_weight)
    features = source.schema.features
    model = Mixture(Gaussian(covariance, 0.0), Free())
    with reading(source, model_size(model, 1, features), client) as reducer:
        survey = examine(reducer, 2, seed=0)
        require_rows(survey, 1)
        frame = model.components.frame(survey.mean)
        unit = covariance.add(np.zeros(covariance.shape(1, features)), 1.0)
        begun = _spanning(MixtureParameters(np.ones(1), GaussianParameters(np.zeros((1, features)), unit)), survey)
        (iteration,) = iterate([State(model, frame, begun, Stopping(0.0, max_passes=1))], reducer)
    components = iteration.state.reached.components
    if model.components.collapsed(components).any():
        raise InputError(
            f"{source.name} has no spread in some direction (a constant or dependent column, or no more rows than "
            "columns), so that no normal density fits it best; leave such columns out or take a simpler covariance_type"
        )
    return frame.leave(components.means)[0], components.covariances[0]
