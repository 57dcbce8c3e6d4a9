"""SQUAREM: an extrapolation from two EM steps, where a family has coordinates but no metric, and to compare with.

Varadhan and Roland (2008), "Simple and globally convergent methods for accelerating the convergence of any EM
algorithm", Scandinavian Journal of Statistics 35:335–353, scheme S3.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from dask_em._record import record
from dask_em.driver.acceleration.method import Method, Point, Verdict
from dask_em.mixture import Mixture, MixtureGeometry, MixtureParameters

__all__ = ["Squarem"]

Array = np.ndarray[Any, Any]
HALVINGS = 30


@record
class Squarem(Method):
    """Two EM steps, then one along their difference; an EM step from there, or from before where it fell."""

    first: Array | None = None  # coordinates of the point before, (m,), where the next pass is at its EM step
    leapt: bool = False  # whether the next pass is at an extrapolation

    def judge(self, model: Mixture[Any], kept: Point | None, point: Point) -> Verdict:
        geometry = model.geometry()
        assert geometry is not None  # or nobody had chosen this method
        if self.leapt and kept is not None:
            best = point if kept.accepts(point) else kept
            return Verdict(Squarem(), best, best.step)
        here = geometry.coordinates(point.params)
        if self.first is None:
            return Verdict(Squarem(here), point, point.step)
        leap = _leap(geometry, self.first, here, point)
        if leap is None:
            return Verdict(dataclasses.replace(self, first=here), point, point.step)
        return Verdict(Squarem(leapt=True), point, leap)

    def carried(self) -> Squarem:
        return Squarem()

    def afresh(self) -> Squarem:
        return Squarem()


def _leap(geometry: MixtureGeometry, first: Array, second: Array, point: Point) -> MixtureParameters | None:
    """Return θ − 2αr + α²v, with α moved towards an EM step until the parameters are sound."""
    third = geometry.coordinates(point.step)
    r, v = second - first, third - 2 * second + first
    if not v.any():
        return None
    alpha = -float(np.linalg.norm(r) / np.linalg.norm(v))
    for _ in range(HALVINGS):
        if alpha >= -1:
            return None  # an EM step goes as far
        found = geometry.parameters(first - 2 * alpha * r + alpha**2 * v, point.step)
        if found is not None:
            return found
        alpha = (alpha - 1) / 2
    return None
