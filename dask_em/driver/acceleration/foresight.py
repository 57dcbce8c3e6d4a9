"""What a fit remembers of the parameters that a sample foresaw, and what follows for the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from dask_em._record import record

__all__ = ["Foresight"]

Array = np.ndarray[Any, Any]
TRUSTED, DOUBTED, FUTILE = 0.01, 0.03, 0.2  # damping at first, after the first doubt, and where others are better
HARDER = 4  # times the damping, after each further doubt
MEMORY = 3  # differences between steps
SHORTER, LONG = 0.5, 2  # of the step before; how many longer ones in a row show that the sample knows too little
MISSED = 3  # places where nothing is foreseen, before it is given up
INDEPENDENT = 1e-6  # of the largest singular value: what is less is no direction of its own


@record
class Foresight:
    """Steps to what a sample foresaw, from the parameters that it foresaw from, newest last, in coordinates (m,)."""

    damping: float = TRUSTED  # weight of EM's own step
    places: tuple[Array, ...] = ()
    steps: tuple[Array, ...] = ()
    tried: bool = False  # whether what was foreseen is being evaluated
    long: int = 0  # steps in a row that are hardly shorter than the one before
    missed: int = 0  # how often nothing was foreseen

    @property
    def futile(self) -> bool:
        """Whether it has been wrong, or has seen nothing, too often."""
        return self.damping > FUTILE or self.long >= LONG or self.missed >= MISSED

    def judged(self, kept: bool) -> Foresight:
        """Return what is remembered after a pass, in which what was tried was ``kept`` or fell short."""
        return replace(self, tried=False) if kept or not self.tried else self.doubted()

    def doubted(self) -> Foresight:
        """Return what is left of it where the sample has been wrong: less trust, and nothing remembered."""
        return Foresight(max(DOUBTED, HARDER * self.damping), missed=self.missed)

    def blind(self) -> Foresight:
        """Return what is left of it where nothing was foreseen: another place may be better."""
        return Foresight(missed=self.missed + 1)

    def step(self, place: Array, step: Array, whiten: Callable[[Array], Array]) -> tuple[Array, Foresight]:
        """Return where to go from a place whose foreseen step is given, and what is remembered of it.

        Where the sample's curvature is wrong by the same in each pass, differences of steps tell by how much
        (Anderson 1965, "Iterative procedures for nonlinear integral equations", Journal of the ACM 12:547–560).
        """
        places, steps = (*self.places, place)[-MEMORY - 1 :], (*self.steps, step)[-MEMORY - 1 :]
        if len(places) == 1:
            return step, replace(self, places=places, steps=steps, tried=True)
        whitened = whiten(step)
        shorter = np.linalg.norm(whitened) <= SHORTER * np.linalg.norm(whiten(steps[-2]))
        remembered = replace(self, places=places, steps=steps, tried=True, long=0 if shorter else self.long + 1)
        moved = [after - before for before, after in pairwise(places)]
        changed = [after - before for before, after in pairwise(steps)]
        basis = np.stack([whiten(change) for change in changed], axis=1)
        shares = np.linalg.lstsq(basis, whitened, rcond=INDEPENDENT)[0]
        corrected = step - sum(share * (m + c) for share, m, c in zip(shares, moved, changed, strict=True))
        return corrected, remembered
