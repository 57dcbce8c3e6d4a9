"""When to stop, said in a sentence."""

from __future__ import annotations

from dask_em._record import record
from dask_em.driver.outcome import Outcome
from dask_em.errors import InputError, did_you_mean

__all__ = ["STOP_ON", "Stopping"]

STOP_ON = ("log_likelihood", "parameters")


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

    def judge(self, passes: int, rise: float, change: float) -> Outcome | None:
        """Return how the fit ended, or None to go on.

        ``rise`` is the change of the objective since the last pass (nats per row, inf at first), ``change`` the
        largest relative change of the parameters in this pass; neither says anything (inf) after a component was moved.
        """
        by_likelihood = self.stop_on == "log_likelihood"
        watched = abs(rise) if by_likelihood else change
        what = "change of the log-likelihood per row" if by_likelihood else "largest relative change of a parameter"
        if watched < self.tolerance:
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
