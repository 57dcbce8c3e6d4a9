"""When to stop, said in a sentence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan

from dask_em._record import record
from dask_em.driver.outcome import Outcome
from dask_em.errors import InputError, did_you_mean

__all__ = ["CALM", "STOP_ON", "Budget", "Stopping"]

STOP_ON = ("log_likelihood", "parameters")
LITTLE, CALM = 1 / 3, 2  # of the tolerance, in so many passes running: what is left is an estimate


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

    def judge(self, passes: int, rise: float, change: float, left: Sequence[float] = ()) -> Outcome | None:
        """Return how the fit ended, or None to go on.

        ``rise`` is the change of the objective since the last pass (nats per row, inf at first), ``change`` the
        largest relative change of the parameters in this pass; neither says anything (inf) after a component was
        moved, or where a step fell short. A method that can tell what was ``left`` to gain after each of the last
        passes, newest last, is believed when it was little in :data:`CALM` of them running.
        """
        estimates = self.stop_on == "log_likelihood" and bool(left) and not isnan(left[-1])
        if self.stop_on == "parameters":
            what, watched, done = "largest relative change of a parameter", change, change < self.tolerance
        elif estimates:
            calm = len(left) >= CALM and all(each < LITTLE * self.tolerance for each in left[-CALM:])
            what, watched, done = "log-likelihood per row still to be gained, as estimated,", left[-1], calm
        else:
            what, watched, done = "change of the log-likelihood per row", abs(rise), abs(rise) < self.tolerance
        if done:
            return Outcome(
                "converged",
                f"Converged after {passes} passes: the {what} fell to {watched:.2e}, "
                f"below the tolerance {self.tolerance:g}.",
            )
        if passes >= self.max_passes:
            return Outcome(
                "max_passes",
                f"Stopped after {passes} passes, not converged: the {what} was still {watched:.2e} "
                f"(tolerance {self.tolerance:g}). Allow more passes or a larger tolerance.",
            )
        return None


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
