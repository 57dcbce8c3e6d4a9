"""Where to look next, and when to stop."""

from dask_em.driver.acceleration import EM, LBFGS, Foresight, Squarem
from dask_em.driver.checkpoint import Checkpoint, Checkpoints
from dask_em.driver.criteria import BIC, CRITERIA, Criterion, Known, criterion_named
from dask_em.driver.loop import iterate, passes
from dask_em.driver.outcome import Outcome
from dask_em.driver.reseeding import Reseeding
from dask_em.driver.rivals import Rivals, known
from dask_em.driver.state import Entry, Iteration, State, advance, propose
from dask_em.driver.stopping import STOP_ON, Budget, Stopping
from dask_em.driver.surrogate import foreseen

__all__ = [
    "BIC",
    "CRITERIA",
    "EM",
    "LBFGS",
    "STOP_ON",
    "Budget",
    "Checkpoint",
    "Checkpoints",
    "Criterion",
    "Entry",
    "Foresight",
    "Iteration",
    "Known",
    "Outcome",
    "Reseeding",
    "Rivals",
    "Squarem",
    "State",
    "Stopping",
    "advance",
    "criterion_named",
    "foreseen",
    "iterate",
    "known",
    "passes",
    "propose",
]
