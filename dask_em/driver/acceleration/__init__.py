"""Ways to the maximum: plain EM, SQUAREM, and EM-preconditioned L-BFGS, siblings behind one seam."""

from dask_em.driver.acceleration.lbfgs import LBFGS
from dask_em.driver.acceleration.method import EM, Method, Point, Verdict
from dask_em.driver.acceleration.squarem import Squarem

__all__ = ["EM", "LBFGS", "Method", "Point", "Squarem", "Verdict"]
