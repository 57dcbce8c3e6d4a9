"""What is asked for: one model or several, with what they have in common."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em.driver import BIC, Criterion
from dask_em.driver.examination import refining_size, sample_size
from dask_em.errors import InputError
from dask_em.estimators.fitted import Fitted, model_size
from dask_em.estimators.freezing import Frozen, checked_frozen
from dask_em.estimators.given import Given, checked_means, checked_precisions, checked_weights, complete, numbers
from dask_em.families import Covariance, Gaussian
from dask_em.mixture import Mixture
from dask_em.plan import ModelSize
from dask_em.storage.blocks import Layout

__all__ = ["Order", "Start"]

LEAST_WEIGHT = 2.0  # of all rows: with less, criteria that know their number would reward parameters, or not count them


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
        frozen = self.frozen
        family = Gaussian(self.covariance, regularization, blurred, settings["precision"], frozen.fixed)
        return Mixture(family, frozen.weighting)

    @property
    def frozen(self) -> Frozen:
        """What the fit leaves as it is."""
        return checked_frozen(self.settings["frozen"], self.settings["n_components"], self.covariance)

    @property
    def is_given(self) -> bool:
        """Whether nothing of the start is left to chance."""
        names = "weights_init", "means_init", "precisions_init"
        weights, means, precisions = (
            None if self.settings[name] is None else numbers(f"The parameter '{name}'", self.settings[name])
            for name in names
        )
        return self.previous is not None or complete((weights, means, precisions))

    @property
    def kind(self) -> str:
        """Where the first parameters come from; the name of a kind of start where chance has a part in them."""
        if self.is_given:
            return "given parameters" if self.previous is None else "the last fit"
        return "given labels" if self.settings["labels_init"] is not None else str(self.settings["init_params"])

    @property
    def restarts(self) -> int:
        """How many starts there are."""
        return int(self.settings["n_init"]) if self.kind == self.settings["init_params"] else 1

    def size(self, features: int) -> ModelSize:
        """Return how large the models of a pass are, and the sample that they begin with."""
        k = self.settings["n_components"]
        parameters = k + k * features + self.covariance.degrees_of_freedom(k, features)
        size = model_size(self.model, k, features, self.restarts)
        return dataclasses.replace(
            size, sample_rows=sample_size(features, parameters), refining_rows=refining_size(features)
        )

    def require_columns(self, names: tuple[str, ...] | None) -> None:
        """Refuse columns whose names are others than the last fit's, or in another order, on a warm start."""
        before = None if self.previous is None else self.previous.names
        if before and names and before != names:
            raise InputError(
                f"warm_start=True, but the columns are {', '.join(names)}, and those of the last fit "
                f"{', '.join(before)}; give the same in the same order, or set warm_start=False to start anew"
            )

    def given(self, features: int) -> Given:
        """Return what the user gave, checked, with NaN for what is to be found of the components beside frozen ones."""
        settings, k, frozen = self.settings, self.settings["n_components"], self.frozen
        weights, means, precisions = settings["weights_init"], settings["means_init"], settings["precisions_init"]
        gaps = bool(frozen)
        given = (
            None if weights is None else checked_weights(weights, k, gaps),
            None if means is None else checked_means(means, k, features, gaps),
            None if precisions is None else checked_precisions(precisions, self.covariance, k, features, gaps),
        )
        if self.previous is None:
            frozen.require_given(given)
            if given[0] is not None:
                frozen.require_share(given[0])
        return given


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

    def require_rows(self, weight: float) -> None:
        """Refuse to choose among models by a number of rows, the total weight, that is none."""
        if len(self.starts) > 1 and self.criterion.name != "holdout" and weight < LEAST_WEIGHT:
            raise InputError(
                f"the weights add up to {weight:.3g}, which {self.criterion.title} takes for the number of rows; "
                "multiply them by a number, so that their sum is that of the rows they stand for"
            )

    def require_held_out(self, log_likelihood: float, layout: Layout) -> None:
        """Refuse a share of the rows that has turned out to be none."""
        if self.holdout is not None and math.isnan(log_likelihood):
            raise InputError(
                f"holdout={self.holdout:g} holds out none of the {layout.rows:,} rows of {layout.source.name} that "
                "have a weight; hold out a larger share"
            )

    def size(self, features: int) -> ModelSize:
        """Return how large all models of a pass are together."""
        return ModelSize.together([start.size(features) for start in self.starts], apart=self.holdout is not None)
