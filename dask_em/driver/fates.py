"""What became of each component: emptied, collapsed, down to one row; told when it happens and when the fit ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dask_em.driver.outcome import Outcome
from dask_em.mixture import Mixture, MixtureParameters, MixtureStatistics

__all__ = ["COLLAPSED", "EMPTIED", "LEFT", "SINGLE", "judged", "news", "standing"]

EMPTIED, COLLAPSED, SINGLE = "emptied", "collapsed onto too few distinct rows", "is down to a single row"
LEFT = 1.5  # expected rows: a component with fewer has one row
NARROW = "kept from collapsing by the regularization (reg_covar)"
WHY = (
    "Rows there hardly differ in some direction, as in a rounded column, and the likelihood speaks of the "
    "regularization: leave such columns out or make it larger; or smaller, where rows so close are to be told apart."
)
REMEDY = "Ask for fewer components, a larger regularization (reg_covar), or a simpler covariance."


def standing(
    model: Mixture[Any], params: MixtureParameters, stats: MixtureStatistics, lightest: float
) -> tuple[str, ...]:
    """Return how each component fares after a pass, (k,) sentences without their subject; empty: well.

    ``lightest`` is the smallest weight of a row: weights have any scale, and what is less than two such is one row.
    """
    single = stats.counts < LEFT * lightest
    fates = zip(model.emptied(params), model.collapsed(params), single, strict=True)
    return tuple(
        EMPTIED if emptied else COLLAPSED if collapsed else SINGLE if single else ""
        for emptied, collapsed, single in fates
    )


def news(before: Sequence[str], now: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each component that fares otherwise than before."""
    before = before or [""] * len(now)
    return tuple(
        f"component {i} {fate or 'recovered'}"
        for i, (was, fate) in enumerate(zip(before, now, strict=True))
        if fate != was
    )


def judged(outcome: Outcome, fates: Sequence[str], moves: Sequence[int] = (), narrow: Iterable[bool] = ()) -> Outcome:
    """Return the outcome of a fit whose components (k,) fare so, were moved so often, or are kept from collapsing."""
    kind, sentences = outcome.kind, [outcome.sentence]
    if EMPTIED in fates:
        kind = "emptied"
        more = "" if any(moves) else ", or let such components be moved (reseed)"
        sentences.insert(0, f"{_which(fates, EMPTIED)} emptied: no row is left there. Ask for fewer components{more}.")
    if COLLAPSED in fates:
        kind = "collapsed"
        why = "the likelihood has no maximum there, and its value says little"
        sentences.insert(0, f"{_which(fates, COLLAPSED)} {COLLAPSED}: {why}. {REMEDY}")
    if SINGLE in fates:
        sentences.append(f"Left with a single row: {_which(fates, SINGLE).lower()}.")
    kept = [NARROW if is_narrow and not any(fates[i : i + 1]) else "" for i, is_narrow in enumerate(narrow)]
    if NARROW in kept:
        which = "all components" if len(kept) > 1 and all(kept) else _which(kept, NARROW).lower()
        sentences.append(f"{NARROW.capitalize()}: {which}. {WHY}")
    if any(moves):
        told = ", ".join(f"{i} ({count} x)" for i, count in enumerate(moves) if count)
        sentences.append(f"Moved to where the data was worst explained: component {told}.")
    return Outcome(kind, " ".join(sentences))


def _which(fates: Sequence[str], fate: str) -> str:
    chosen = np.flatnonzero([each == fate for each in fates])
    return f"Component {chosen[0]}" if len(chosen) == 1 else f"Components {', '.join(map(str, chosen))}"
