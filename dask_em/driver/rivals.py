"""Of several models in a pass, those that cannot be the best any more are dropped: the others' passes cost less."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from dask_em._record import record
from dask_em.driver.criteria import Criterion, Known
from dask_em.driver.outcome import Outcome
from dask_em.driver.state import State

__all__ = ["Rivals", "known"]

PASSES = 3  # that a model is given at least, where the sample has spoken of it
ALONE = 20  # where it has not: small data, in which a component may yet find a heap of equal rows
DOUBT = 10  # times what a method sees left to gain: on a ridge it sees too little
NEAR = 1e-4  # nats per row within which nobody is dropped
ON_THE_WAY = "its {title} can be expected to come to {hoped} at best, and that of {best} is {reached}."


def known(state: State, rows: float) -> Known | None:
    """Return what a fit's passes have told, or what the sample has foretold; None: nothing yet.

    ``rows`` is the total weight of the rows that it is fitted to.
    """
    kept = [entry for entry in state.history if entry.kept]
    if not kept:
        return state.foretold
    last, parameters = kept[-1], state.model.degrees_of_freedom(state.reached)
    return Known(last.log_likelihood, last.entropy, last.held_out, parameters, rows)


@record
class Rivals:
    """How the models of a pass are compared."""

    criterion: Criterion
    rows: float  # total weight of the rows that they are fitted to
    least: int = PASSES  # passes that a model is given
    alone: int = ALONE  # passes that one is given of which no sample has spoken

    def value(self, state: State) -> float:
        """Return the criterion's value of a fit, as far as it has come; infinite where nothing is known."""
        found = known(state, self.rows)
        value = math.inf if found is None else self.criterion.value(found)
        return math.inf if math.isnan(value) else value

    def rank(self, state: State) -> tuple[bool, float]:
        """Return what sorts fits, the best first: one with a collapsed component says little."""
        return state.collapsed or state.dropped, self.value(state)

    def remaining(self, states: Sequence[State]) -> list[State]:
        """Return the states after a pass, those that cannot be the best any more with that as their end.

        One that was dropped goes on again where the model that it could not reach has collapsed since.
        """
        sure = [s for s in states if not s.collapsed and s.history and (self.criterion.falls or not s.running)]
        best = min(sure, key=self.value, default=None)
        return [state if best is None else self._judged(state, best) for state in states]

    def _judged(self, state: State, best: State) -> State:
        found = known(state, self.rows)
        if found is None or len(state.history) < (self.least if state.foretold else self.alone):
            return state
        hoped = found.hoping(_left(state) + NEAR)
        if state.dropped and not self.criterion.value(hoped) > self.value(best):
            return dataclasses.replace(state, outcome=None)
        if state is best or not state.running:
            return state
        if state.name == best.name and state.foretold is None:
            return state  # restarts from chance overtake one another late; those from the sample are nearly there
        return self.dropped(state, best, hoped, f"Dropped after {len(state.history)} passes: {ON_THE_WAY}")

    def dropped(self, state: State, best: State, hoped: Known, words: str) -> State:
        """Return a state with its end told in ``words`` where all that is hoped of it falls short of the best one."""
        most, reached = self.criterion.value(hoped), self.value(best)
        if not most > reached:
            return state
        title, told = self.criterion.title, self.criterion.told
        other = "another restart" if best.name == state.name else best.name
        sentence = words.format(title=title, hoped=told(most), best=other, reached=told(reached))
        return dataclasses.replace(state, outcome=Outcome("dropped", sentence))


def _left(state: State) -> float:
    """Return how many nats per row a fit may still gain, generously."""
    last, kept = state.history[-1], [entry.objective for entry in state.history if entry.kept]
    if not math.isnan(last.left):
        return DOUBT * last.left
    rise = kept[-1] - kept[-2] if len(kept) > 1 else math.inf
    return max(rise, 0.0) * (state.stopping.max_passes - last.number)  # EM's rises shrink
