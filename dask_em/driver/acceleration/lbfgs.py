"""EM-preconditioned L-BFGS: quasi-Newton steps whose gradient is EM's own step, without a line search.

A limited-memory form of Lange (1995), "A quasi-Newton acceleration of the EM algorithm", Statistica Sinica 5:1–18,
with the two-loop recursion of Nocedal (1980), in the complete-data Fisher metric at the current parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em._record import record, static
from dask_em.driver.acceleration.method import Method, Point, Verdict
from dask_em.mixture import Mixture, MixtureGeometry

__all__ = ["LBFGS"]

Array = np.ndarray[Any, Any]
MEMORY, MEMORY_BYTES = 20, 256 * 2**20
CURVED = 1e-6  # <s, y> against |s| |y|: flatter pairs say nothing
FIRST_CAP = 0.3  # of a step's length, in the metric of one row
AT_CAP = 0.999  # a step of so much of the cap was held back by it
HALVINGS = 30
REJECTIONS = 2  # in a row, before EM's own step is taken


@record
class LBFGS(Method):
    """Pairs of steps and of what they changed in EM's own step, newest last, in coordinates (m,)."""

    memory: int = static(default=MEMORY)
    steps: tuple[Array, ...] = ()
    changes: tuple[Array, ...] = ()
    cap: float = 0.0  # on a step's length; 0: not known yet
    length: float = 0.0  # of the step that was proposed last
    rejections: int = 0  # of steps from the kept point

    def judge(self, model: Mixture[Any], kept: Point | None, point: Point) -> Verdict:
        geometry = model.geometry()
        assert geometry is not None  # or nobody had chosen this method
        here = _place(geometry, point)
        if kept is None:
            learned, accepted, best, (u, f) = self, True, point, here
        else:
            before = _place(geometry, kept)
            learned = _learned(self, before, here)
            accepted = self.rejections >= REJECTIONS or kept.accepts(point)
            best, (u, f) = (point, here) if accepted else (kept, before)
        whiten = geometry.whitening(best.params)
        method = _capped(learned, accepted, float(np.linalg.norm(whiten(f))))
        if method.rejections >= REJECTIONS:
            return Verdict(method, best, best.step, max(best.gain, 0.0))
        return _proposed(method, geometry, best, (u, f), whiten)

    def carried(self) -> LBFGS:
        return LBFGS(self.memory, self.steps, self.changes)

    def afresh(self) -> LBFGS:
        return LBFGS(self.memory)


def _place(geometry: MixtureGeometry, point: Point) -> tuple[Array, Array]:
    """Return a point's coordinates (m,), and EM's step from there."""
    u = geometry.coordinates(point.params)
    return u, geometry.coordinates(point.step) - u


def _learned(method: LBFGS, before: tuple[Array, Array], here: tuple[Array, Array]) -> LBFGS:
    """Return the method with the pair between two places; that to a rejected one says as much."""
    step, change = here[0] - before[0], before[1] - here[1]
    most = max(1, min(method.memory, MEMORY_BYTES // (16 * step.size)))
    steps, changes = (*method.steps, step)[-most:], (*method.changes, change)[-most:]
    return dataclasses.replace(method, steps=steps, changes=changes)


def _capped(method: LBFGS, accepted: bool, em_length: float) -> LBFGS:
    """Return the method with the cap that follows from how the last step went."""
    if method.cap == 0.0:
        return dataclasses.replace(method, cap=max(FIRST_CAP, em_length), rejections=0)
    if not accepted:
        cap = max(method.length / 4, em_length / 2)
        return dataclasses.replace(method, cap=cap, rejections=method.rejections + 1)
    grown = 2 * method.cap if method.length >= AT_CAP * method.cap else method.cap
    return dataclasses.replace(method, cap=max(grown, em_length), rejections=0)


def _proposed(
    method: LBFGS, geometry: MixtureGeometry, best: Point, at: tuple[Array, Array], whiten: Callable[[Array], Array]
) -> Verdict:
    """Return the verdict with a quasi-Newton step from the best point, or EM's own where there is none."""
    u, f = at
    q, whitened, decrement = _direction(method, f, whiten)
    length = float(np.linalg.norm(whitened))
    left = max(best.gain, decrement, 0.0)
    if not np.isfinite(length) or decrement <= 0:
        return Verdict(dataclasses.replace(method.afresh(), cap=method.cap), best, best.step, left)
    factor = min(1.0, method.cap / length)
    for _ in range(HALVINGS):
        found = geometry.parameters(u + factor * q, best.step)
        if found is not None:
            return Verdict(dataclasses.replace(method, length=factor * length), best, found, left)
        factor /= 2
    return Verdict(method, best, best.step, left)


@dataclass(frozen=True)
class _Pair:
    """A step s and what it changed, y, as they are and in the metric's basis."""

    s: Array
    y: Array
    ws: Array
    wy: Array

    @property
    def product(self) -> float:
        return float(self.ws @ self.wy)

    @property
    def is_curved(self) -> bool:
        return self.product > CURVED * float(np.linalg.norm(self.ws) * np.linalg.norm(self.wy))


def _direction(method: LBFGS, f: Array, whiten: Callable[[Array], Array]) -> tuple[Array, Array, float]:
    """Return the quasi-Newton step, its image in the metric's basis, and half of what it promises, nats per row."""
    all_pairs = (_Pair(s, y, whiten(s), whiten(y)) for s, y in zip(method.steps, method.changes, strict=True))
    pairs = [pair for pair in all_pairs if pair.is_curved]
    wf = whiten(f)
    q, wq = f, wf
    shares = []
    for pair in reversed(pairs):
        share = float(pair.ws @ wq) / pair.product
        q, wq = q - share * pair.y, wq - share * pair.wy
        shares.append(share)
    if pairs:
        newest = pairs[-1]
        scale = max(1.0, newest.product / float(newest.wy @ newest.wy))
        q, wq = scale * q, scale * wq
    for pair, share in zip(pairs, reversed(shares), strict=True):
        rest = share - float(pair.wy @ wq) / pair.product
        q, wq = q + rest * pair.s, wq + rest * pair.ws
    return q, wq, 0.5 * float(wf @ wq)
