"""Moves out of a poor optimum: two components that do one's work become one, and one that does two's becomes two.

Ueda, Nakano, Ghahramani and Hinton (2000), "SMEM algorithm for mixture models", Neural Computation 12:2109–2128. Moves
are ranked by what the rows of the components concerned gain and lose, each judged with components made for them alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from dask_em.driver.criteria import BIC
from dask_em.driver.initialization import clusters
from dask_em.driver.loop import passes
from dask_em.driver.rivals import Rivals
from dask_em.driver.state import State
from dask_em.kernel import log_density, responsibilities
from dask_em.mixture import Mixture, MixtureParameters
from dask_em.reduction import Reducer
from dask_em.rows import Frame, Rows

__all__ = ["improved", "moves"]

Array = np.ndarray[Any, Any]
TILE = 1024
PAIRS = 2  # times the components: pairs that overlap most, to be judged
SHARE = 1e-3  # of a row: components with less of it are not asked
LEAST = 8  # rows of a component that is split
ROUNDS, TRIED = 5, 3  # of moves, and how many are tried in each
PATIENT = 12  # passes before a move may be given up: what it will gain does not show before
GAINED = 1e-3  # nats per row, at least: the fit from before goes along, and all rows may see none of less


def improved(states: Sequence[State], reducer: Reducer, values: Array, weight: Array) -> list[State]:
    """Return fits that have ended, each in the best optimum that moves have led to over the same rows.

    ``values`` (n, d) and ``weight`` (n,) are the rows of the reducer, in any order.
    """
    best, rivals = list(states), Rivals(BIC(), float(weight.sum()), PATIENT, PATIENT)
    going = list(range(len(best)))
    for _ in range(ROUNDS):
        found = [(i, params) for i in going for params in moves(*_place(best[i]), values, weight, TRIED)]
        tried = [_begun(best[i], params) for i, params in found]
        remaining = partial(_remaining, rivals, [best[i] for i, _ in found])
        for parts in passes(tried, reducer, remaining=remaining):
            for part in parts:
                tried[part.member] = part.state
        going = []
        for (i, _), state in zip(found, tried, strict=True):
            if not state.collapsed and state.objective > best[i].objective + GAINED:
                best[i] = state
                going = [*going, *([i] if i not in going else [])]
    return best


def _place(state: State) -> tuple[Mixture[Any], Frame, MixtureParameters]:
    return state.model, state.frame, state.reached


def _begun(state: State, params: MixtureParameters) -> State:
    """Return a fit that begins anew elsewhere, as a rival of the one that it was moved from."""
    method, name = state.method.afresh(), f"{state.name}, moved"
    begun = dataclasses.replace(state, params=params, method=method, name=name)
    return dataclasses.replace(begun, history=(), outcome=None, standing=(), kept=None)


def _remaining(rivals: Rivals, before: Sequence[State], tried: Sequence[State]) -> list[State]:
    """Drop what cannot become better than the fit that it was moved from."""
    return [rivals.remaining([best, state])[1] for best, state in zip(before, tried, strict=True)]


def moves(
    model: Mixture[Any], frame: Frame, params: MixtureParameters, values: Array, weight: Array, most: int
) -> list[MixtureParameters]:
    """Return at most so many new parameters, the most promising first, for rows (n, d) and their weights (n,)."""
    k, logs = len(params.weights), np.log(params.weights)
    if k < 3:
        return []
    sample = _Sample(model, frame, values, weight)
    prepared, rows = model.prepare(params, frame), Rows.of(values, weight)
    resp, density = responsibilities(prepared, TILE, rows).T, log_density(prepared, TILE, rows)
    splits = {i: found for i in range(k) if (found := sample.split(resp[i], density - logs[i]))}
    losses = {
        (i, j): sample.merged(resp[i] + resp[j], density - np.logaddexp(logs[i], logs[j]))
        for i, j in _overlapping(resp, weight)[: PAIRS * k]
    }
    worth = sorted(
        ((loss - gain, pair, s) for s, (gain, _) in splits.items() for pair, loss in losses.items() if s not in pair),
        key=lambda each: each[0],
    )
    return [sample.moved(resp, pair, s, splits[s][1]) for _, pair, s in worth[:most]]


def _overlapping(resp: Array, weight: Array) -> list[tuple[int, int]]:
    """Return the pairs of components, those first that share most of their rows."""
    lengths = np.sqrt((resp**2 * weight).sum(axis=1)) + np.finfo(float).tiny
    shared = (resp * weight) @ resp.T / lengths / lengths[:, None]
    return sorted(combinations(range(len(resp)), 2), key=lambda pair: -shared[pair])


class _Sample:
    """Rows, and what components made for some of them say of these."""

    def __init__(self, model: Mixture[Any], frame: Frame, values: Array, weight: Array) -> None:
        self._model, self._frame, self._values, self._weight = model, frame, values, weight
        self._inside = frame.enter(values)
        self._scale = self._inside.std(axis=0) + np.finfo(float).tiny

    def split(self, resp: Array, shared: Array) -> tuple[float, Array] | None:
        """Return what two components instead of one would gain (nats), and each row's side (n,); None: too few rows.

        ``shared`` is log p(x) − log π, so that log r added to it is the one component's log-density.
        """
        asked = self._asked(resp, shared)
        if asked is None:
            return None
        here, weight, before = asked
        points = self._inside[here] / self._scale
        labels = clusters(points, weight, 2, 0)
        if labels.all() or not labels.any():
            return None
        gain = self._explained(here, weight, np.stack([labels == 0, labels == 1]).astype(float))
        sides = np.zeros(len(resp))
        sides[here] = labels
        return gain - before, sides

    def merged(self, resp: Array, shared: Array) -> float:
        """Return what one component instead of two would lose, nats; ``shared`` as in :meth:`split`."""
        asked = self._asked(resp, shared)
        if asked is None:
            return 0.0
        here, weight, before = asked
        return before - self._explained(here, weight, np.ones((1, len(here))))

    def _asked(self, resp: Array, shared: Array) -> tuple[Array, Array, float] | None:
        """Return which rows a component is judged by, their weights, and their log-likelihood by it; None: too few."""
        here = np.flatnonzero(resp > SHARE)
        weight = self._weight[here] * resp[here]
        if len(here) < LEAST or not weight.sum() > 0:
            return None
        return here, weight, float(weight @ (shared[here] + np.log(resp[here])))

    def moved(self, resp: Array, pair: tuple[int, int], split: int, sides: Array) -> MixtureParameters:
        """Return parameters where one of a pair does the work of both, and the other half of the one that is split."""
        moved, (i, j) = resp.copy(), pair
        moved[i] = resp[i] + resp[j]
        moved[j], moved[split] = resp[split] * sides, resp[split] * (1 - sides)
        return self._model.start(Rows.of(self._inside, self._weight), moved)

    def _explained(self, here: Array, weight: Array, resp: Array) -> float:
        """Return the log-likelihood of some rows, nats, by components made for them."""
        params = self._model.start(Rows.of(self._inside[here], weight), resp)
        rows = Rows.of(self._values[here], weight)
        return float(weight @ log_density(self._model.prepare(params, self._frame), TILE, rows))
