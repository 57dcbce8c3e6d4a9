"""The seam of the driver's methods: what was learned of a pass, and what to evaluate next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from dask_em._record import record
from dask_em.mixture import Mixture, MixtureParameters, MixtureStatistics

__all__ = ["EM", "ROUNDING", "Method", "Point", "Verdict"]

SUFFICIENT = 1e-4  # of EM's certified gain: what an accelerated step must gain at least
ROUNDING = 64 * 2.0**-52  # of an objective, relative


@record
class Point:
    """Parameters that were evaluated, and where an EM step takes them."""

    params: MixtureParameters
    step: MixtureParameters
    objective: float  # nats per row
    gain: float  # Q(step, params) − Q(params, params): what the step gains at least, nats per row
    statistics: MixtureStatistics | None = None  # taken at params: the step is theirs

    @property
    def noise(self) -> float:
        """What rounding may do to the objective."""
        return ROUNDING * (1.0 + abs(self.objective))

    def accepts(self, other: Point) -> bool:
        """Say whether going on from another point keeps the objective rising, as an EM step would."""
        return other.objective >= self.objective + SUFFICIENT * max(self.gain, 0.0) - self.noise


@dataclass(frozen=True)
class Verdict:
    """What a method makes of a pass."""

    method: Method  # as it goes on
    kept: Point  # the best that is known: its EM step is safe to end with
    candidate: MixtureParameters  # what to evaluate next
    left: float = float("nan")  # what is still to be gained, nats per row, where the method can tell


class Method(ABC):
    """A way to the maximum. Law: the kept points' objectives never fall, and fixed points are EM's."""

    @abstractmethod
    def judge(self, model: Mixture[Any], kept: Point | None, point: Point) -> Verdict:
        """Return what follows from a pass at ``point``; ``kept`` is the best one before, None in the first pass."""

    @abstractmethod
    def carried(self) -> Method:
        """Return the method as it begins over other rows of the same kind, from about where it ended."""

    @abstractmethod
    def afresh(self) -> Method:
        """Return the method without what it has learned, where parameters have jumped."""


@record
class EM(Method):
    """Dempster, Laird and Rubin (1977): the M-step is what is evaluated next."""

    def judge(self, model: Mixture[Any], kept: Point | None, point: Point) -> Verdict:
        return Verdict(self, point, point.step)

    def carried(self) -> EM:
        return self

    def afresh(self) -> EM:
        return self
