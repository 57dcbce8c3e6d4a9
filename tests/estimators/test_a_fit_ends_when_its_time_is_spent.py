from __future__ import annotations

from pathlib import Path

import numpy as np

from dask_em import GaussianMixture

X = np.random.default_rng(0).normal(size=(2000, 3))


def test_after_the_pass_in_which_it_ends_and_can_be_resumed(tmp_path: Path) -> None:
    settings = {"n_components": 3, "tol": 0.0, "max_iter": 6, "random_state": 0}
    short = GaussianMixture(max_minutes=1e-9, **settings)
    assert len(list(short.iterate(X, checkpoints=tmp_path))) == 1
    assert short.outcome_.kind == "max_minutes"
    assert "(max_minutes) are spent. Resume it" in short.outcome_.sentence
    assert not short.converged_

    rest = GaussianMixture(max_minutes=60, **settings)
    assert len(list(rest.iterate(X, checkpoints=tmp_path, resume=True))) == 5
    whole = GaussianMixture(**settings)
    list(whole.iterate(X))
    assert rest.means_.tobytes() == whole.means_.tobytes()
