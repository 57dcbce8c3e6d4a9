"""How a fit ended, as a sentence: what happened, likely why, what to try."""

from __future__ import annotations

from dask_em._record import record

__all__ = ["Outcome"]


@record
class Outcome:
    """``kind`` is one of converged, max_passes, collapsed, stopped (by the caller), fixed (no pass was asked for)."""

    kind: str
    sentence: str

    @property
    def converged(self) -> bool:
        """Whether the stopping rule was met."""
        return self.kind == "converged"

    def judged(self, collapsed: list[int]) -> Outcome:
        """Return the outcome, given which components have collapsed."""
        if not collapsed:
            return self
        which = f"Component {collapsed[0]}" if len(collapsed) == 1 else f"Components {', '.join(map(str, collapsed))}"
        return Outcome(
            "collapsed",
            f"{which} collapsed onto too few distinct rows: the likelihood has no maximum there, and its value says "
            "little. Ask for fewer components, a larger regularization (reg_covar), or a simpler covariance. "
            + self.sentence,
        )
