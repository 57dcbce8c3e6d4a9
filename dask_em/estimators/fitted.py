"""A fitted mixture at rest: what a model file holds, and its two ways to and from scikit-learn."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture

from dask_em._record import record
from dask_em.driver import Entry, Outcome
from dask_em.driver.scalable_kmeans import OVER_ALL_ROWS
from dask_em.errors import DataError
from dask_em.estimators.given import numbers
from dask_em.families import Gaussian, GaussianParameters, covariance_named
from dask_em.mixture import Free, Mixture, MixtureParameters, MixtureStatistics, PreparedMixture
from dask_em.plan import ModelSize
from dask_em.rows import Frame

__all__ = ["Fitted", "from_attributes", "model_size", "portable", "restored", "to_sklearn"]

Array = np.ndarray[Any, Any]
ONE_A_ROW = frozenset({"labels_init"})


@record
class Fitted:
    """Everything that a prediction or a report needs; self-describing."""

    model: Mixture[Gaussian]
    frame: Frame
    params: MixtureParameters
    names: tuple[str, ...] | None  # of the columns
    rows: float  # total weight of the rows that it was fitted to
    history: tuple[Entry, ...]
    outcome: Outcome
    environment: str = ""  # the arithmetic that it was fitted with: versions, kind of CPU
    statistics: MixtureStatistics | None = None  # the sums that the parameters are the M-step of, where they are known

    @property
    def size(self) -> ModelSize:
        """How large the model is."""
        return model_size(self.model, *self.params.components.means.shape)

    def lower_bounds(self) -> list[float]:
        """Return, for each pass, the log-likelihood per row of the best parameters that it knew."""
        bounds: list[float] = []
        for entry in self.history:
            bounds.append(entry.log_likelihood if entry.kept or not bounds else bounds[-1])
        return bounds

    def bic(self) -> float:
        """Return the BIC of the last lower bound; NaN where the last pass did not see all rows."""
        bounds = self.lower_bounds() or [float("-inf")]
        if self.outcome.kind == "updated":
            return float("nan")
        return -2 * bounds[-1] * self.rows + self.model.degrees_of_freedom(self.params) * float(np.log(self.rows))

    def prepare(self) -> PreparedMixture:
        """Return what a tile needs to be judged by: plain densities in float64, whatever the fit computed with."""
        family = dataclasses.replace(self.model.components, precision="float64", blurred=False)
        return dataclasses.replace(self.model, components=family).prepare(self.params, self.frame)


def model_size(model: Mixture[Gaussian], components: int, features: int, models: int = 1) -> ModelSize:
    """Return the size of a Gaussian mixture of ``components`` in ``features`` columns, or of several alike."""
    covariance = model.components.covariance
    return ModelSize(components * models, covariance.feature_map.size(features), "mean-centred")


def from_attributes(estimator: SklearnGaussianMixture) -> Fitted:
    """Return the mixture that scikit-learn's attributes describe, in a frame about its own mean."""
    model = Mixture(Gaussian(covariance_named(estimator.covariance_type), float(estimator.reg_covar)), Free())
    weights, means = np.array(estimator.weights_, np.float64), np.array(estimator.means_, np.float64)
    frame = model.components.frame(weights @ means)
    components = GaussianParameters(frame.enter(means), np.array(estimator.covariances_, np.float64))
    names = tuple(estimator.feature_names_in_) if hasattr(estimator, "feature_names_in_") else None
    kind = "converged" if estimator.converged_ else "max_passes"
    outcome = Outcome(kind, f"Fitted by scikit-learn in {estimator.n_iter_} iterations.")
    history = tuple(_entry(i, float(bound)) for i, bound in enumerate(getattr(estimator, "lower_bounds_", ()), 1))
    return Fitted(model, frame, MixtureParameters(weights, components), names, float("nan"), history, outcome)


def _entry(number: int, objective: float) -> Entry:
    unknown = float("nan")
    return Entry(number, 0, objective, objective, unknown, unknown, unknown, unknown)


def to_sklearn(fitted: Fitted, estimator: Any) -> SklearnGaussianMixture:
    """Return scikit-learn's estimator with the same parameters and attributes."""
    known, ours = SklearnGaussianMixture().get_params(), estimator.get_params()
    shared = known.keys() - ({"init_params"} if ours["init_params"] == OVER_ALL_ROWS else set())
    other = SklearnGaussianMixture(**{name: ours[name] for name in known if name in shared})
    names = ["weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_", "converged_", "n_iter_"]
    names += ["lower_bound_", "lower_bounds_", "n_features_in_"]
    names += ["feature_names_in_"] if fitted.names is not None else []
    for name in names:
        setattr(other, name, getattr(estimator, name))
    return other


def portable(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return constructor arguments as JSON holds them: NumPy's numbers as numbers, arrays as lists, others as None.

    What has a value for each row is None too: it belongs to the data, and nothing that is fitted needs it again. NaN,
    in an array, is None too: it equals itself.
    """
    told: dict[str, Any] = {}
    for name, value in parameters.items():
        plain = None if name in ONE_A_ROW else value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, list | tuple) or hasattr(plain, "__array__"):
            array = numbers(name, plain)
            told[name] = {"array": np.where(np.isnan(array), None, array).tolist()}  # type: ignore[call-overload]  # objects
        elif isinstance(plain, dict):
            told[name] = {"parts": {part: np.asarray(chosen).tolist() for part, chosen in plain.items()}}
        else:
            told[name] = plain if isinstance(plain, str | int | float | bool) else None
    return told


def restored(parameters: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Return a file's constructor arguments; DataError where this version does not know one."""
    for name in parameters:
        if name not in known:
            raise DataError(f"the file's parameter {name!r} is not known to this version of dask_em; upgrade it")
    return {name: _restored(value) if isinstance(value, dict) else value for name, value in parameters.items()}


def _restored(value: dict[str, Any]) -> Any:
    return value["parts"] if "parts" in value else np.array(value["array"], np.float64)
