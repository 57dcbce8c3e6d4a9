"""Which Gaussian mixture: a grid of models fitted in the same passes over the data, and the best of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin, MetaEstimatorMixin, clone

from dask_em.driver import CRITERIA, Outcome, State, criterion_named, known
from dask_em.errors import InputError
from dask_em.estimators.answering import Answering
from dask_em.estimators.fitting import Reached
from dask_em.estimators.gaussian_mixture import GaussianMixture
from dask_em.estimators.given import whole_numbers
from dask_em.estimators.iterating import Iterating
from dask_em.estimators.orders import Order
from dask_em.families import covariance_named

__all__ = ["Candidate", "GaussianMixtureSearch", "select"]


@dataclass(frozen=True)
class Candidate:
    """A model of the grid, and what is known of it; NaN where nothing is."""

    name: str
    n_components: int
    covariance_type: str
    parameters: int  # free ones
    log_likelihood: float  # nats per row
    aic: float
    bic: float
    icl: float
    held_out: float  # log-likelihood of the rows that are held out, nats per row
    passes: int
    foretold: bool  # as far behind the best as the sample has it: it was dropped before it saw all rows
    outcome: Outcome

    def value(self, select_by: str) -> float:
        """Return what models are compared by: the lower the better."""
        return -self.held_out if select_by == "holdout" else float(getattr(self, select_by))


class GaussianMixtureSearch(Iterating, Answering, MetaEstimatorMixin, DensityMixin, BaseEstimator):  # type: ignore[misc]  # no types
    """Fits Gaussian mixtures of several sizes and covariances in the same passes, and keeps the best.

    A pass reads the data once for all models, and for all restarts of each. Models that the sample of pass 0, or the
    passes so far, show to be worse than another one are dropped; each says why in its ``outcome``. The fitted search
    answers as the best mixture does.

    Parameters
    ----------
    estimator : GaussianMixture, optional
        What all models have in common: tolerance, starts, regularization, seed.
    n_components : sequence of int, default (1, 2, 4, 8, 16)
    covariance_type : sequence of {"full", "tied", "diag", "spherical"}, default ("full",)
    select_by : {"bic", "aic", "icl", "holdout"}, default "bic"
        Schwarz's and Akaike's criteria, the integrated completed likelihood, or the log-likelihood of held-out rows.
    holdout : float, optional
        Share of the rows, chosen by their hashed numbers, that no model is fitted to and all are scored on.
    drop : bool, default True
        Drop models that cannot be the best; False fits all of them to their end. Plain EM (``accelerate=False``)
        drops none.

    Attributes
    ----------
    results_ : tuple of Candidate
        A line for each model, in the grid's order; ``pandas.DataFrame(search.results_)`` is the table.
    best_index_ : int
    best_estimator_ : GaussianMixture
        The one with the lowest criterion of those that were not dropped, and of which no component collapsed.
    estimators_ : tuple of GaussianMixture or None
        All models; None where one was dropped before it saw all rows.

    Notes
    -----
    Criteria are those of the log-likelihood that a model's last pass has told, without a further read. They are the
    same bits on any cluster.
    """

    def __init__(
        self,
        estimator: GaussianMixture | None = None,
        *,
        n_components: Any = (1, 2, 4, 8, 16),
        covariance_type: Any = ("full",),
        select_by: str = "bic",
        holdout: float | None = None,
        drop: bool = True,
    ) -> None:
        self.estimator = estimator
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.select_by = select_by
        self.holdout = holdout
        self.drop = drop

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit all models and choose; the arguments are those of :meth:`GaussianMixture.fit`."""
        for iteration in self.iterate(X, sample_weight=sample_weight):
            template = self._template()
            if template.verbose and iteration.entry.number % template.verbose_interval == 0:
                print(iteration)  # noqa: T201  # verbose is asked for
        return self

    def _template(self) -> GaussianMixture:
        return GaussianMixture() if self.estimator is None else self.estimator

    @property
    def _random_state(self) -> Any:
        return self._template().random_state

    def _grid(self) -> list[GaussianMixture]:
        """Return the models to fit, in order.

        Raises
        ------
        InputError
            A parameter cannot be used.
        """
        components = whole_numbers("n_components", self.n_components, least=1)
        kinds = [self.covariance_type] if isinstance(self.covariance_type, str) else self.covariance_type
        if not isinstance(kinds, Sequence) or not all(isinstance(kind, str) for kind in kinds):
            raise InputError(f"covariance_type is {kinds!r}; give names, such as ['full', 'diag']")
        for what, values in (("n_components", components), ("covariance_type", kinds)):
            if not values or len(set(values)) < len(values):
                raise InputError(f"{what} is {values}; give at least one value, and none twice")
        criterion_named(self.select_by)
        holdout: Any = self.holdout
        if holdout is not None and not (isinstance(holdout, float | np.floating) and 0 < holdout < 1):
            raise InputError(f"holdout is {holdout!r}; give the share of the rows to hold out, such as 0.1, or None")
        if self.select_by == "holdout" and holdout is None:
            raise InputError("select_by is 'holdout', but no rows are held out; say which share: holdout=0.1")
        template = self._template()
        if not isinstance(template, GaussianMixture):
            raise InputError(f"estimator is {template!r}; give a dask_em.GaussianMixture, or None")
        if template.warm_start:
            raise InputError("warm_start=True starts from one last fit, and here are many models; leave it at False")
        if template.max_iter == 0:
            raise InputError("max_iter=0 makes no pass, and models are compared by what passes tell; give at least 1")
        return [
            clone(template).set_params(n_components=k, covariance_type=covariance_named(kind).name)
            for kind in kinds
            for k in components
        ]

    def _asked(self) -> Order:
        grid = self._grid()
        seed = self._random_state
        if not isinstance(seed, int | np.integer):  # one seed for all, drawn once
            seed = int(np.random.RandomState(None).randint(2**31) if seed is None else seed.randint(2**31))
        orders = [clone(model).set_params(random_state=seed).order() for model in grid]
        starts = tuple(start for order in orders for start in order.starts)
        names = "n_components", "covariance_type"
        asked = {name: " ".join(str(model.get_params()[name]) for model in grid) for name in names}
        holdout = None if self.holdout is None else float(self.holdout)
        own = {"select_by": self.select_by, "holdout": holdout, "drop": bool(self.drop)}
        settings = self._template().get_params() | asked | own
        return Order(starts, settings, criterion_named(self.select_by), bool(self.drop), holdout)

    def _take(self, order: Order, reached: Reached) -> None:
        grid = self._grid()
        named = [[state for state in reached.states if state.name == start.name] for start in order.starts]
        best = [min(states, key=reached.rivals.rank) for states in named]
        self.results_ = tuple(_candidate(*each, reached) for each in zip(grid, best, strict=True))
        self.estimators_ = tuple(
            None if state.dropped and not state.history else clone(model).published(reached.fitted(state))
            for model, state in zip(grid, best, strict=True)
        )
        self.best_index_ = best.index(reached.best)
        self.best_estimator_: GaussianMixture = clone(grid[self.best_index_]).published(reached.fitted(reached.best))
        self._fitted = reached.fitted(reached.best)
        self.n_features_in_ = self._fitted.params.components.means.shape[1]


def _candidate(model: GaussianMixture, state: State, reached: Reached) -> Candidate:
    found, best = known(state, reached.rivals.rows), reached.best
    if found and not state.history and best.foretold and (there := known(best, reached.rivals.rows)):
        found = found.beside(best.foretold, there)
    values = {name: math.nan if found is None else each.value(found) for name, each in CRITERIA.items()}
    return Candidate(
        name=state.name,
        n_components=model.n_components,
        covariance_type=model.covariance_type,
        parameters=state.model.degrees_of_freedom(state.reached),
        log_likelihood=math.nan if found is None else found.log_likelihood,
        aic=values["aic"],
        bic=values["bic"],
        icl=values["icl"],
        held_out=math.nan if found is None else found.held_out,
        passes=len(state.history),
        foretold=state.dropped and not state.history,
        outcome=state.outcome or reached.budget.outcome(),
    )


def select(  # noqa: PLR0913  # what a search takes
    X: Any,
    n_components: Any = (1, 2, 4, 8, 16),
    covariance_type: Any = ("full",),
    *,
    select_by: str = "bic",
    holdout: float | None = None,
    drop: bool = True,
    sample_weight: Any = None,
    **settings: Any,
) -> GaussianMixtureSearch:
    """Fit a grid of Gaussian mixtures in the same passes over the data, and choose.

    Parameters
    ----------
    X, sample_weight
        As in :meth:`GaussianMixture.fit`.
    n_components, covariance_type, select_by, holdout, drop
        As in :class:`GaussianMixtureSearch`.
    **settings
        What all models have in common, as in :class:`GaussianMixture`.

    Returns
    -------
    GaussianMixtureSearch
        Fitted: ``.best_estimator_`` is the winner, ``.results_`` the table.
    """
    search = GaussianMixtureSearch(
        GaussianMixture(**settings),
        n_components=n_components,
        covariance_type=covariance_type,
        select_by=select_by,
        holdout=holdout,
        drop=drop,
    )
    return search.fit(X, sample_weight=sample_weight)
