"""Serial, threads, and a cluster of two processes: one digest, for every family and for a whole fit."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import zarr
from distributed import Client

from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.execution import DaskReducer, Threads, single_threaded_blas
from dask_em.kernel import summarize
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Serial
from dask_em.storage import open_source
from dask_em.testing import Case
from tests.families import CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_statistics_of_every_family(case: Case, client: Client) -> None:
    rows = case.rows(300_000)
    source = open_source(rows.values, weights=rows.weight, rows_per_atom=7_000)
    layout = plan(source, source.atoms(), ModelSize(case.components, 500)).layout
    assert len(layout.blocks) > 8, "a tree of one level would show little"
    frame, params = case.begin(rows)
    kernel = partial(summarize, (case.model.prepare(params, frame),), layout.tile_rows)
    with single_threaded_blas():
        serial = digest(Serial(layout).total(kernel))
        threaded = digest(Threads(layout, 2).total(kernel))
    with DaskReducer(layout, client) as reducer:
        assert serial == threaded == digest(reducer.total(kernel))


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_a_whole_fit(covariance_type: str, client: Client, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((60_000, 6)) + 3 * random.integers(3, size=(60_000, 1))
    path = tmp_path / "rows.zarr"
    zarr.create_array(path, data=rows.astype(np.float32), chunks=(4_000, 6))
    model = GaussianMixture(4, covariance_type=covariance_type, tol=1e-6, max_iter=8, n_init=2, random_state=0)
    digests = []
    for where in (None, client):
        for _ in model.iterate(path, client=where):
            pass
        digests.append((digest(model._fitted.params), model.lower_bounds_, digest(model._fitted.frame)))
    assert digests[0] == digests[1]
