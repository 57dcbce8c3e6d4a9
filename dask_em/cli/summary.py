"""From a fitted model to its summary."""

from __future__ import annotations

import dataclasses

from dask_em.estimators import GaussianMixture, GaussianMixtureSearch
from dask_em.report import Contender, Selection, Summary

__all__ = ["selection_of", "summary_of"]


def summary_of(model: GaussianMixture, seconds: float | None = None) -> Summary:
    """Return the summary of a fitted model; ``seconds`` is how long the fit took, else what its passes took."""
    last = model.history_[-1] if model.history_ else None
    names = getattr(model, "feature_names_in_", None)
    return Summary(
        family="gaussian",
        covariance=model.covariance_type,
        weights=model.weights_.tolist(),
        columns=model.n_features_in_,
        names=None if names is None else names.tolist(),
        rows=(last.rows or None) if last else None,
        log_likelihood=last.log_likelihood if last else None,
        bic=model.bic_ if last and model.bic_ == model.bic_ else None,
        passes=len(model.history_) if last else None,
        seconds=(sum(entry.seconds for entry in model.history_) or None) if seconds is None else seconds,
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
