from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from typer.testing import CliRunner

from dask_em import GaussianMixture, spool
from dask_em.cli.app import app
from dask_em.config import dump_config, json_schema, load_config
from dask_em.errors import ConfigError, DataError, InputError
from dask_em.rows import Rows
from dask_em.storage import Source
from dask_em.storage.source import Atom
from tests.sources import Chunks

RANDOM = np.random.default_rng(0)
ROWS = np.concatenate([RANDOM.normal(-4, 1, (1500, 3)), RANDOM.normal(4, 2, (2500, 3))])
WEIGHTS = RANDOM.uniform(0.5, 2, len(ROWS))


class Counted(Chunks):
    """Notes how often something is read; its last atom may fail."""

    loads = 0
    fails = False

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        type(self).loads += 1
        if self.fails and atom.place == "chunk 3":
            raise DataError("chunk 3 is lost")
        return super().load(atom, rows)


class Failing(Counted):
    fails = True


def parquet(folder: Path) -> str:
    table = pa.table({**dict(zip("abc", ROWS.T, strict=True)), "w": WEIGHTS})
    pq.write_table(table, folder / "rows.parquet", row_group_size=700)
    return str(folder / "rows.parquet")


def fitted(data: Any, weights: Any = None) -> GaussianMixture:
    model = GaussianMixture(2, max_iter=5, tol=0, random_state=0)
    for _ in model.iterate(data, sample_weight=weights):
        pass
    return model


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "made",
    [
        lambda folder: (ROWS, WEIGHTS),
        lambda folder: (da.from_array(ROWS, chunks=(900, 3)), da.from_array(WEIGHTS, chunks=900)),
        lambda folder: (parquet(folder), "w"),
    ],
    ids=["NumPy", "Dask", "Parquet"],
)
def test_and_fitted_as_they_are_directly(
    tmp_path: Path, made: Callable[[Path], tuple[Any, Any]], weighted: bool
) -> None:
    data, weights = made(tmp_path)
    weights = weights if weighted else None
    direct, spooled = fitted(data, weights), fitted(spool(data, tmp_path / "spool.zarr", sample_weight=weights))
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        np.testing.assert_allclose(getattr(spooled, name), getattr(direct, name), rtol=1e-12)
    assert getattr(spooled, "feature_names_in_", None) is None or list(spooled.feature_names_in_)[:3] == list("abc")
    assert hasattr(spooled, "feature_names_in_") == isinstance(data, str)


def test_and_read_no_second_time(tmp_path: Path) -> None:
    source = Counted(ROWS, (1000,) * 4)
    Counted.loads = 0
    first = spool(source, tmp_path / "spool.zarr")
    assert Counted.loads == 4
    again = spool(source, tmp_path / "spool.zarr")
    fitted(again)
    assert Counted.loads == 4
    assert again.schema == first.schema


def test_so_that_rows_which_differ_each_time_are_the_same_in_each_pass(tmp_path: Path) -> None:
    noise = da.from_array(ROWS, chunks=(1000, 3)).map_blocks(lambda rows: rows + np.random.default_rng().normal())
    assert fitted(noise).means_.tobytes() != fitted(noise).means_.tobytes()
    source = spool(noise, tmp_path / "spool.zarr")
    assert fitted(source).means_.tobytes() == fitted(source).means_.tobytes()


def test_with_the_weights_of_a_source_of_ones_own(tmp_path: Path) -> None:
    source = Chunks(ROWS, (2000, 2000), weights=WEIGHTS)
    there = spool(source, tmp_path / "spool.zarr")
    found = [there.load(atom) for atom in there.atoms()]
    np.testing.assert_array_equal(np.concatenate([rows.values for rows in found]), ROWS)
    np.testing.assert_array_equal(np.concatenate([rows.weight for rows in found]), WEIGHTS)


def test_in_their_own_type_where_they_have_no_weights(tmp_path: Path) -> None:
    there = spool(ROWS.astype(np.float32), tmp_path / "spool.zarr")
    assert there.schema.dtype == np.float32
    assert zarr.open_array(str(tmp_path / "spool.zarr")).shape == ROWS.shape


def test_or_not_at_all_where_reading_fails(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="chunk 3 is lost"):
        spool(Failing(ROWS, (1000,) * 4), tmp_path / "spool.zarr")
    assert list(tmp_path.iterdir()) == []


def test_and_nothing_else_is_taken_for_them(tmp_path: Path) -> None:
    spool(ROWS, tmp_path / "spool.zarr")
    zarr.create_array(str(tmp_path / "own.zarr"), data=ROWS)
    for data, weights, path, sentence in (
        (ROWS[:, :2], WEIGHTS, "spool.zarr", "holds the columns column 0, column 1, column 2, and the rows of array"),
        (ROWS[1:], None, "spool.zarr", "spool.zarr holds 4,000 rows, and array has 3,999; remove it to spool"),
        (ROWS, None, "own.zarr", "own.zarr holds an array that was not spooled, and the rows of array take column 0"),
        (ROWS, None, "spool.parquet", "spool.parquet does not end with .zarr"),
    ):
        with pytest.raises(InputError, match=sentence):
            spool(data, tmp_path / path, sample_weight=weights)
    assert {path.name for path in tmp_path.iterdir()} == {"spool.zarr", "own.zarr"}


CONFIG = """
data: {source: rows.parquet, weights: w, spool: spooled/rows.zarr}
model: {components: 2, covariance: diag}
fit: {max_passes: 4, tolerance: 0}
output: {directory: runs/two}
"""


def test_from_a_config_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parquet(tmp_path)
    Path("config.yaml").write_text(CONFIG)
    assert '"spool"' in json_schema()
    assert f"spool: {tmp_path}/spooled/rows.zarr" in dump_config(load_config("config.yaml"))
    call = CliRunner().invoke
    assert "First: the rows are written to spooled/rows.zarr" in call(app, ["plan", "config.yaml", "--no-trial"]).stdout
    assert call(app, ["fit", "config.yaml"]).exit_code == 0
    written = Path("spooled/rows.zarr/zarr.json").stat().st_mtime_ns
    assert call(app, ["fit", "config.yaml"]).exit_code == 0
    assert Path("spooled/rows.zarr/zarr.json").stat().st_mtime_ns == written
    assert "Data: spooled/rows.zarr: 4,000 rows of 3 columns" in call(app, ["plan", "config.yaml", "--no-trial"]).stdout
    with pytest.raises(ConfigError, match="data.spool is 'here'; it must end with .zarr"):
        load_config("config.yaml", ["data.spool=here"])


def test_and_the_source_has_all_that_a_source_needs(tmp_path: Path) -> None:
    assert isinstance(spool(ROWS, tmp_path / "spool.zarr", sample_weight=WEIGHTS), Source)
