"""Ways to the maximum: plain EM, SQUAREM, and EM-preconditioned L-BFGS, siblings behind one seam."""

from dask_em.driver.acceleration.foresight import Foresight
from dask_em.driver.acceleration.lbfgs import LBFGS
from dask_em.driver.acceleration.method import EM, ROUNDING, Method, Point, Verdict
from dask_em.driver.acceleration.squarem import Squarem

__all__ = ["EM", "LBFGS", "ROUNDING", "Foresight", "Method", "Point", "Squarem", "Verdict"]
