"""When to stop, said in a sentence."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from math import isinf, isnan

from dask_em._record import record
from dask_em.driver.outcome import Outcome
from dask_em.errors import InputError, did_you_mean

__all__ = ["CALM", "STOP_ON", "Budget", "Stopping", "Watched"]

STOP_ON = ("log_likelihood", "parameters")
LITTLE, CALM = 1 / 3, 2  # of the tolerance, in so many passes running: what is left is an estimate
MANY = 10  # times the tolerance: so much left is worth a word


@dataclass(frozen=True)
class Watched:
    """What the last pass says of the end. Infinite, where a component was moved before it or its step fell short."""

    passes: int
    rise: float = float("inf")  # of the objective since the pass before, nats per row
    rise_before: float = float("inf")
    change: float = float("inf")  # the largest relative change of a parameter
    left: tuple[float, ...] = ()  # to gain, as the method sees it after each of the last passes, nats per row
    noise: float = 0.0  # what rounding does to the objective

    @property
    def estimates(self) -> bool:
        """Whether the method can tell what is left."""
        return bool(self.left) and not isnan(self.left[-1])


@record
class Stopping:
    """Stop when what is watched changes by less than the tolerance, or after so many passes."""

    tolerance: float  # nats per row, or relative change
    stop_on: str = "log_likelihood"
    max_passes: int = 100

    def __post_init__(self) -> None:
        if self.stop_on not in STOP_ON:
            raise InputError(
                f"stop_on is {self.stop_on!r}, which is no stopping rule.{did_you_mean(self.stop_on, STOP_ON)}"
            )

    def judge(self, seen: Watched) -> Outcome | None:
        """Return how the fit ended, or None to go on.

        A method that can tell what was left to gain is believed when it was little in :data:`CALM` passes running.
        """
        what, watched = self._watched(seen)
        if self._is_little(seen, watched, self.tolerance):
            told = f"the {what} fell to {watched:.2e}, below the tolerance {self.tolerance:g}."
            return Outcome("converged", f"Converged after {seen.passes} passes: {told}{self._suspicion(seen)}")
        if (
            self.stop_on != "parameters"
            and 0 < self.tolerance < seen.noise
            and self._is_little(seen, watched, seen.noise)
        ):
            told = f"the {what} is {watched:.2e}, and rounding alone moves it by {seen.noise:.1e}"
            remedy = f"The tolerance {self.tolerance:g} is below that: nothing more can be told with a smaller one."
            return Outcome("noise", f"Ended after {seen.passes} passes in the noise: {told}. {remedy}")
        if seen.passes >= self.max_passes:
            told = f"the {what} was still {watched:.2e} (tolerance {self.tolerance:g})"
            if isinf(watched):
                told = f"the {what} is not known of a first pass, or of a step that was too far"
            return Outcome(
                "max_passes",
                f"Stopped after {seen.passes} passes, not converged: {told}. Allow more passes or a larger tolerance.",
            )
        return None

    def of_sample(self, finest: float, coarsest: float, max_passes: int) -> Stopping:
        """Return where a fit of a sample ends: a hundredth of the tolerance, from finest to coarsest, nats per row."""
        return Stopping(max(finest, min(self.tolerance / 100, coarsest)), max_passes=max_passes)

    def is_met_by(self, left: float) -> bool:
        """Say whether so little is left to gain, as estimated in nats per row, that the fit ends if it stays so."""
        return self.stop_on != "parameters" and left < LITTLE * self.tolerance

    def _watched(self, seen: Watched) -> tuple[str, float]:
        """Return what is looked at, in words and in numbers."""
        if self.stop_on == "parameters":
            return "largest relative change of a parameter", seen.change
        if seen.estimates:
            return "log-likelihood per row still to be gained, as estimated,", seen.left[-1]
        return "change of the log-likelihood per row", abs(seen.rise)

    def _is_little(self, seen: Watched, watched: float, limit: float) -> bool:
        if self.stop_on == "parameters" or not seen.estimates:
            return watched < limit
        return len(seen.left) >= CALM and all(each < LITTLE * limit for each in seen.left[-CALM:])

    def _suspicion(self, seen: Watched) -> str:
        """Return a warning where rises shrink so slowly that many of them are left (Aitken's estimate of their sum)."""
        factor = seen.rise / seen.rise_before if seen.rise_before > 0 else 0.0
        if self.stop_on == "parameters" or seen.estimates or not 0 < factor < 1:
            return ""
        left = seen.rise * factor / (1 - factor)
        if left < MANY * self.tolerance:
            return ""
        return (
            f" A plateau is suspected: each rise is {factor:.2f} of the one before, so that about {left:.1e} nats per "
            "row may be left. Take a smaller tolerance, or accelerated steps (accelerate)."
        )


@dataclass(frozen=True)
class Budget:
    """Minutes that a fit may take, from now; None: as many as it needs."""

    minutes: float | None
    began: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> bool:
        """Whether the minutes are over."""
        return self.minutes is not None and time.monotonic() - self.began >= 60 * self.minutes

    def outcome(self) -> Outcome:
        """Return how a fit ended that was not over: its time was, or its caller's patience."""
        if not self.spent:
            return Outcome("stopped", "Stopped by the caller before convergence.")
        told = f"Stopped, not converged: the {self.minutes:g} minutes allowed (max_minutes) are spent."
        return Outcome("max_minutes", f"{told} Resume it from its checkpoint, or allow more.")
