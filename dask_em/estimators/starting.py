"""What a fit starts from: one model of a pass, and where each of its restarts begins."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em.driver import BIC, EM, LBFGS, Criterion, Outcome, Reseeding, Rivals, State, Stopping
from dask_em.driver.initialization import examine, require_rows, sample_size, starts
from dask_em.errors import InputError
from dask_em.estimators.fitted import Fitted, model_size
from dask_em.estimators.given import checked_means, checked_precisions, checked_weights, substitute
from dask_em.estimators.warming import warmed
from dask_em.families import Covariance, Gaussian, GaussianParameters
from dask_em.families.gaussian import extents
from dask_em.kernel import Holdout, Survey
from dask_em.mixture import Free, Mixture, MixtureParameters
from dask_em.plan import ModelSize
from dask_em.reduction import Reducer
from dask_em.rows import Frame

__all__ = ["Begun", "Order", "Start", "begin", "spanning"]

Given = tuple[Any, Any, Any]  # weights (k,), means (k, d), covariances; None where the user gave nothing


@dataclass(frozen=True)
class Start:
    """What a model starts from."""

    covariance: Covariance
    settings: dict[str, Any]  # the estimator's parameters, checked
    random: np.random.RandomState
    previous: Fitted | None = None  # the last fit, on a warm start

    @property
    def name(self) -> str:
        """The model's name among others."""
        k = self.settings["n_components"]
        return f"{k} component{'' if k == 1 else 's'}, {self.covariance.name}"

    @property
    def model(self) -> Mixture[Gaussian]:
        """The mixture to fit."""
        settings, regularization = self.settings, float(self.settings["reg_covar"])
        blurred = settings["accelerate"] and regularization > 0  # what an accelerated step climbs must not fall
        return Mixture(Gaussian(self.covariance, regularization, blurred, settings["precision"]), Free())

    @property
    def is_given(self) -> bool:
        """Whether nothing of the start is left to chance."""
        names = "weights_init", "means_init", "precisions_init"
        return self.previous is not None or all(self.settings[name] is not None for name in names)

    @property
    def restarts(self) -> int:
        """How many starts there are."""
        return 1 if self.is_given else int(self.settings["n_init"])

    def size(self, features: int) -> ModelSize:
        """Return how large the models of a pass are, and the sample that they begin with."""
        k = self.settings["n_components"]
        parameters = k + k * features + self.covariance.degrees_of_freedom(k, features)
        size = model_size(self.model, k, features, self.restarts)
        return dataclasses.replace(size, sample_rows=sample_size(features, parameters))

    def given(self, features: int) -> Given:
        """Return what the user gave, checked."""
        settings, k = self.settings, self.settings["n_components"]
        weights, means, precisions = settings["weights_init"], settings["means_init"], settings["precisions_init"]
        return (
            None if weights is None else checked_weights(weights, k),
            None if means is None else checked_means(means, k, features),
            None if precisions is None else checked_precisions(precisions, self.covariance, k, features),
        )


@dataclass(frozen=True)
class Order:
    """What is asked for: models to be fitted in the same passes, and how they are compared."""

    starts: tuple[Start, ...]  # of different models, whose settings are the same beside
    settings: dict[str, Any]  # what a resumed fit must have again
    criterion: Criterion = dataclasses.field(default_factory=BIC)
    drop: bool = True  # models that cannot be the best any more
    holdout: float | None = None  # share of the rows

    @property
    def common(self) -> dict[str, Any]:
        """The settings of all models."""
        return self.starts[0].settings

    def size(self, features: int) -> ModelSize:
        """Return how large all models of a pass are together."""
        return ModelSize.together([start.size(features) for start in self.starts], apart=self.holdout is not None)


@dataclass(frozen=True)
class Begun:
    """Where the passes begin."""

    states: tuple[State, ...]
    weight: float  # total weight of the rows that are fitted
    holdout: Holdout | None = None


def begin(order: Order, reducer: Reducer, stopping: Stopping) -> Begun:
    """Take pass 0, and find where each restart of each model begins: fitted to the sample first, where that pays."""
    features = reducer.layout.source.schema.features
    seed, *_ = [int(start.random.randint(2**31)) for start in order.starts]  # all draw alike
    holdout = None if order.holdout is None else Holdout(order.holdout, seed + 1)
    survey = examine(reducer, order.size(features).sample_rows, seed, holdout)
    for start in order.starts:
        require_rows(survey, start.settings["n_components"])
    groups = [_states(start, survey, stopping) for start in order.starts]
    if order.common["accelerate"] and stopping.max_passes and not all(start.is_given for start in order.starts):
        rivals = Rivals(order.criterion, survey.weight)
        states = warmed(groups, survey, order.size(features), rivals, drop=order.drop)
    else:
        states = [state for group in groups for state in group]
    return Begun(tuple(states), survey.weight, holdout)


def _states(start: Start, survey: Survey, stopping: Stopping) -> list[State]:
    """Return the states that a model begins with, one a restart."""
    model, settings = start.model, start.settings
    frame = model.components.frame(survey.mean)
    sample = survey.sample
    reseeding = Reseeding.of(sample.values, sample.weight, settings["n_components"]) if settings["reseed"] else None
    outcome = None if stopping.max_passes else Outcome("fixed", "No pass was asked for: the model is its start.")
    method = LBFGS() if settings["accelerate"] else EM()
    return [
        State(
            model,
            frame,
            spanning(params, survey),
            stopping,
            outcome=outcome,
            reseeding=reseeding,
            method=method,
            name=start.name,
            lightest=float(survey.weights.low[0]),
        )
        for params in _parameters(start, survey, frame)
    ]


def _parameters(start: Start, survey: Survey, frame: Frame) -> list[MixtureParameters]:
    """Return where each start begins."""
    model, settings, k = start.model, start.settings, start.settings["n_components"]
    if start.previous is not None:
        return [_moved(start.previous, frame, start.covariance, k, len(frame.centre))]
    weights, means, covariances = start.given(len(frame.centre))
    if weights is not None and means is not None and covariances is not None:
        return [MixtureParameters(weights, GaussianParameters(frame.enter(means), covariances))]
    seeds = [np.random.RandomState(start.random.randint(2**31)) for _ in range(start.restarts)]
    found = starts(model, survey, frame, k, settings["init_params"], seeds)
    return [substitute(params, frame, weights, means, covariances) for params in found]


def spanning(params: MixtureParameters, survey: Survey) -> MixtureParameters:
    """Return the start with the data's extent noted, which is exact in pass 0."""
    extent = extents(survey.extent.low, survey.extent.high)
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
