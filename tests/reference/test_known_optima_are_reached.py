"""Log-likelihoods and BICs that the literature and scikit-learn's iris give (Fraley and Raftery 2002 for mclust's)."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_iris

from dask_em import GaussianMixture


@pytest.mark.parametrize(
    ("covariance_type", "components", "bic"),
    [("full", 1, -829.9782), ("full", 2, -574.0178), ("full", 3, -580.8389), ("tied", 2, -688.0972)],
)
def test_iris(covariance_type: str, components: int, bic: float) -> None:
    x = load_iris().data
    model = GaussianMixture(
        components,
        covariance_type=covariance_type,
        tol=1e-10,
        reg_covar=0.0,
        max_iter=2000,
        n_init=30,
        init_params="kmeans",
        random_state=0,
    ).fit(x)
    assert np.isclose(-model.bic(x), bic, atol=1e-3)
