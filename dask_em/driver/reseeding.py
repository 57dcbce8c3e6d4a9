"""Where a component that emptied or collapsed begins anew: where the data is worst explained, but not at an outlier.

Judged on rows of pass 0's sample, so without another read. The objective may fall when a component is moved: what EM
climbs afterwards is another hill.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from scipy.spatial.distance import cdist

from dask_em._record import record
from dask_em.kernel import log_density
from dask_em.mixture import TINY, Mixture, MixtureParameters
from dask_em.rows import Frame, Rows

__all__ = ["MOST", "Movable", "Reseeding", "Standard"]

Array = np.ndarray[Any, Any]
MOST = 3  # moves of a component; after them it is kept as it is
ROWS, BYTES = 5000, 8 * 2**20  # of the sample that are kept
TILE = 1024
WORST, HANDFUL, MANY = 0.01, 10, 256  # share of the weight that counts as badly explained; rows at least and at most
NEIGHBOURS = 0.25  # of the badly explained rows: how many must be near


@runtime_checkable
class Standard(Protocol):
    """A family that knows how far apart two points of the frame are, with weights (k,) of its components."""

    def standardise(self, params: Any, weights: Array, points: Array) -> Array:
        """Map points (n, d) linearly to coordinates in which distances are in units of the pooled spread."""


@runtime_checkable
class Movable(Standard, Protocol):
    """A family whose components can begin anew at a point of the frame, with weights (k,) that say who is well."""

    def relocate(self, params: Any, weights: Array, component: int, point: Array) -> Any:
        """Return the parameters with one component at a point, spread as the others are on average."""


@record
class Reseeding:
    """A bounded sample of the rows, and what was done with it."""

    values: Array  # (n, d), distinct rows in the data's coordinates
    weight: Array  # (n,)
    moves: tuple[int, ...]  # (k,), of each component so far
    staying: tuple[int, ...] = ()  # components that are never moved: their means are fixed

    @staticmethod
    def of(values: Array, weight: Array, components: int, staying: tuple[int, ...] = ()) -> Reseeding:
        """Keep so many rows of a sample in random order, (n, d), as a checkpoint may carry."""
        most = min(ROWS, max(BYTES // (8 * values.shape[1]), HANDFUL))
        distinct, where = np.unique(values[:most], axis=0, return_inverse=True)
        totals = np.bincount(where.ravel(), weight[:most])
        return Reseeding(distinct, totals, (0,) * components, staying=staying)

    def candidates(self, fates: Sequence[str]) -> list[int]:
        """Return the components to move: where none fares well, the data is to blame, and none is moved."""
        if all(fates):
            return []
        may = (i for i in range(len(fates)) if i not in self.staying and self.moves[i] < MOST)
        return [i for i in may if fates[i]]

    def move(
        self, model: Mixture[Any], frame: Frame, params: MixtureParameters, chosen: Sequence[int], fates: Sequence[str]
    ) -> tuple[MixtureParameters, Reseeding]:
        """Move the chosen components, one after the other, and count it; ``fates`` (k,) as after the M-step."""
        family, fares_well = model.components, np.array([not fate for fate in fates])
        assert isinstance(family, Movable)  # or nobody had asked for it
        weights, components = params.weights, params.components
        for i in chosen:
            sound = MixtureParameters(np.where(fares_well, weights, TINY), components)
            point = self._worst(model, frame, sound)
            components = family.relocate(components, sound.weights, i, point)
            weights = model.weights.relocated(weights, i)
            fares_well[i] = True
        moves = tuple(count + (i in chosen) for i, count in enumerate(self.moves))
        return MixtureParameters(weights, components), dataclasses.replace(self, moves=moves)

    def _worst(self, model: Mixture[Any], frame: Frame, params: MixtureParameters) -> Array:
        """Return the row, in the frame, (d,), around which badly explained rows are densest.

        Dense is where a quarter of them are within the smallest distance: a lone outlier is far from all the others.
        """
        density = log_density(model.prepare(params, frame), TILE, Rows.of(self.values, self.weight))
        worst = np.argsort(density, kind="stable")
        share = np.cumsum(self.weight[worst]) / self.weight.sum()
        count = min(max(int(np.searchsorted(share, WORST)) + 1, HANDFUL), MANY)
        points = frame.enter(self.values[worst[:count]])
        standard = model.components.standardise(params.components, params.weights, points)
        distances = np.sort(cdist(standard, standard), axis=1)
        near = min(max(int(NEIGHBOURS * len(points)), 2), len(points) - 1)
        return np.asarray(points[np.argmin(distances[:, near])])
