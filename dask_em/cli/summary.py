"""From a fitted model to its summary."""

from __future__ import annotations

import dataclasses

from dask_em.estimators import GaussianMixture, GaussianMixtureSearch
from dask_em.report import Contender, Selection, Summary

__all__ = ["selection_of", "summary_of"]


def summary_of(model: GaussianMixture, whole: float | None = None) -> Summary:
    """Return the summary of a fitted model; ``whole`` is how many seconds all of the fit took, where that is known."""
    last = model.history_[-1] if model.history_ else None
    names = getattr(model, "feature_names_in_", None)
    return Summary(
        family="gaussian",
        covariance=model.covariance_type,
        weights=model.weights_.tolist(),
        columns=model.n_features_in_,
        names=None if names is None else names.tolist(),
        rows=model.n_samples_seen_ or (last.rows if last else None) or None,
        log_likelihood=model.lower_bound_ if last else None,
        bic=model.bic_ if last and model.bic_ == model.bic_ else None,
        passes=len(model.history_) if last else None,
        seconds=sum(entry.seconds for entry in model.history_) or None,
        whole=whole,
        outcome=model.outcome_.sentence,
    )


def selection_of(search: GaussianMixtureSearch) -> Selection:
    """Return which model a search has chosen, and from which."""
    told = [
        Contender(
            **{f.name: getattr(each, f.name) for f in dataclasses.fields(each)} | {"outcome": each.outcome.sentence}
        )
        for each in search.results_
    ]
    return Selection(told, search.best_index_, search.select_by)
