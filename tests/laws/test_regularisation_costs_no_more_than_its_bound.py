"""scikit-learn's plain rule, reg added after the M-step, may lower the log-likelihood; this says by how much at most.

The blurred objective L − (reg/2) Σ_k (N_k/N) tr Σ_k⁻¹ per row is what that step maximises.
"""

import numpy as np
import pytest

from dask_em.families import COVARIANCES, Gaussian
from dask_em.testing import Case
from tests.families import clouds


@pytest.mark.parametrize("name", list(COVARIANCES))
@pytest.mark.parametrize("regularization", [0.0, 1e-6, 1e-2, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_it_holds_at_every_step(name: str, regularization: float, seed: int) -> None:
    covariance = COVARIANCES[name]
    case = Case(name, Gaussian(covariance, regularization), clouds, components=4)
    rows = case.rows(seed=seed)
    frame, params = case.begin(rows, seed)
    before = float("-inf")
    allowed = 0.0
    for _ in range(60):
        stats = case.pass_over(rows, frame, params)
        objective = case.model.objective(stats, params)
        assert objective >= before - allowed - 1e-10
        new = case.model.maximize(stats, params)
        k, d = params.components.means.shape
        old_trace, new_trace = (
            np.trace(np.linalg.inv(covariance.dense(p.components.covariances, k, d)), axis1=1, axis2=2)
            for p in (params, new)
        )
        allowed = max(regularization / 2 * float(stats.counts / stats.weight @ (old_trace - new_trace)), 0.0)
        before, params = objective, new
