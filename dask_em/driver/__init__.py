"""Where to look next, and when to stop."""

from dask_em.driver.acceleration import EM, LBFGS, Squarem
from dask_em.driver.checkpoint import Checkpoint, Checkpoints
from dask_em.driver.loop import iterate, passes
from dask_em.driver.outcome import Outcome
from dask_em.driver.reseeding import Reseeding
from dask_em.driver.state import Entry, Iteration, State, advance, propose
from dask_em.driver.stopping import STOP_ON, Budget, Stopping

__all__ = [
    "EM",
    "LBFGS",
    "STOP_ON",
    "Budget",
    "Checkpoint",
    "Checkpoints",
    "Entry",
    "Iteration",
    "Outcome",
    "Reseeding",
    "Squarem",
    "State",
    "Stopping",
    "advance",
    "iterate",
    "passes",
    "propose",
]
