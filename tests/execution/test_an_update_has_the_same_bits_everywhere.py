"""partial_fit reads and adds in the fit's tree: serial, threads and a cluster of two processes give one digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from distributed import Client

from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.errors import DataError
from dask_em.estimators.reading import HERE, planned, source_of
from dask_em.plan import ModelSize

ROWS, ATOM = 24_000, 1_000


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan twelve blocks."""
    monkeypatch.setattr("dask_em.plan.BLOCK_ROWS", ROWS // 12)


@pytest.fixture(scope="module")
def rows() -> Any:
    random = np.random.default_rng(1)
    return random.standard_normal((ROWS, 3)) * [1, 1e3, 1e-3] + 4 * random.integers(3, size=(ROWS, 1))


def begun(rows: Any, covariance_type: str = "full") -> GaussianMixture:
    model = GaussianMixture(3, covariance_type=covariance_type, tol=0.0, max_iter=3, random_state=0)
    for _ in model.iterate(rows[:5000], client=HERE):
        pass
    return model


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_of_rows_at_rest(
    covariance_type: str, rows: Any, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.zarr"
    zarr.create_array(path, data=rows, chunks=(ATOM, 3))
    assert len(planned(source_of(path), ModelSize(3, 10), HERE).layout.blocks) == 12
    digests = []
    for cores in (1, 3):
        monkeypatch.setattr("dask_em.execution.cores", lambda: cores)  # noqa: B023  # one: no threads at all
        digests.append(digest(begun(rows, covariance_type).partial_fit(path)._fitted.statistics))
    model = begun(rows, covariance_type)
    with client.as_current():
        digests.append(digest(model.partial_fit(path)._fitted.statistics))
    assert len(set(digests)) == 1
    assert model.n_samples_seen_ == 5000 + ROWS


def test_of_rows_with_weights(rows: Any, client: Client, tmp_path: Path) -> None:
    table = {"a": rows[:, 0], "b": rows[:, 1], "c": rows[:, 2], "w": np.arange(ROWS) % 3}
    pq.write_table(pa.table(table), tmp_path / "rows.parquet", row_group_size=ATOM)
    model = GaussianMixture(3, tol=0.0, max_iter=2, random_state=0)
    digests = []
    for where in (HERE, client):
        for _ in model.iterate(tmp_path / "rows.parquet", sample_weight="w", client=where):
            pass
        if where is HERE:
            model.partial_fit(tmp_path / "rows.parquet", sample_weight="w")
        else:
            with client.as_current():
                model.partial_fit(tmp_path / "rows.parquet", sample_weight="w")
        digests.append(digest(model._fitted.statistics))
    assert digests[0] == digests[1]
    assert model._fitted.rows == 2 * (np.arange(ROWS) % 3).sum()


def test_and_a_bad_row_is_named_by_its_place(rows: Any, client: Client, tmp_path: Path) -> None:
    bad = rows.copy()
    bad[17_005, 1] = np.nan
    bad[20_000, 0] = np.inf
    zarr.create_array(tmp_path / "bad.zarr", data=bad, chunks=(ATOM, 3))
    model = begun(rows)
    with (
        client.as_current(),
        pytest.raises(DataError, match="NaN in column 1 at row 17005 .block 8, row .*; 2 of 24000 rows are affected"),
    ):
        model.partial_fit(tmp_path / "bad.zarr")
