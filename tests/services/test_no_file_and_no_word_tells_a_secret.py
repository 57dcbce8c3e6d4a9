"""The secret is looked for in all that a run leaves, there and here, and in all that is said."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import zarr
import zarr.storage

from tests.services.store import KEY, SECRET

CONFIG = str(Path(__file__).parents[2] / "configs/s3.yaml")
ROWS = "s3://measurements/rows.zarr"
MARK = "hush"  # in the key, in the secret and in each part of it
HERE = ["--set=cluster.kind=threads", "--set=fit.checkpoint_every=0", "--set=fit.max_passes=2"]


@pytest.fixture(params=["environment", "options"])
def options(request: pytest.FixtureRequest, system: Any, store: Any, shapes: Any) -> list[str]:
    """What leads to the store: nothing but the environment, or overrides of the config."""
    zarr.create_array(zarr.storage.FsspecStore.from_url(ROWS), data=shapes, chunks=(300, 3))
    if request.param == "environment":
        return []
    request.getfixturevalue("no_environment")
    told = {"key": KEY, "secret": SECRET, "endpoint_url": store.url, "client_kwargs.aws_session_token": MARK * 5}
    return [
        f"--set={section}.storage_options.{key}={value}"
        for section in ("data", "output")
        for key, value in told.items()
    ]


def members(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a file, and what is in it where it is a zip."""
    yield name, content
    if name.endswith(".npz"):
        with zipfile.ZipFile(BytesIO(content)) as archive:
            yield from ((f"{name}/{member}", archive.read(member)) for member in archive.namelist())


def require_silence(done: Any, system: Any, caplog: pytest.LogCaptureFixture) -> int:
    """Look everywhere; return at how many files."""
    stored = [each for path in system.find("measurements/runs") for each in members(path, system.cat_file(path))]
    local = [each for path in Path().rglob("*") if path.is_file() for each in members(str(path), path.read_bytes())]
    ours = [
        record.getMessage() for record in caplog.records if record.name.partition(".")[0] in ("dask_em", "distributed")
    ]
    said = [("stdout", done.stdout), ("stderr", done.stderr), ("logged", "\n".join(ours))]
    for name, content in [*stored, *local, *((name, text.encode()) for name, text in said)]:
        for secret in (MARK, SECRET, KEY):
            assert secret.encode().lower() not in content.lower(), name
    return len(stored)


def test_of_a_fit_that_succeeds(options: list[str], call: Any, system: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="dask_em"):
        done = call(["fit", CONFIG, *HERE, "--set=data.spool=s3://measurements/runs/spooled.zarr", *options])
    assert done.exit_code == 0, done.output
    assert system.exists("measurements/runs/spooled.zarr/zarr.json")
    assert require_silence(done, system, caplog) > 20
    config = system.cat_file("measurements/runs/first/config.yaml").decode()
    assert ("secret: '***'" in config) == bool(options)


def test_of_a_fit_whose_data_is_damaged(
    options: list[str], call: Any, system: Any, caplog: pytest.LogCaptureFixture
) -> None:
    system.pipe_file("measurements/rows.zarr/c/7/0", b"no chunk at all")
    done = call(["fit", CONFIG, *HERE, *options])
    assert done.exit_code == 2, done.output
    assert "cannot read chunk" in done.stderr
    assert require_silence(done, system, caplog) >= 2


def test_of_a_fault_of_ours(
    options: list[str], call: Any, system: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("dask_em.estimators.fitting.data_digest", fails)
    done = call(["fit", CONFIG, *HERE, *options])
    assert done.exit_code == 1, done.output
    assert "The traceback is in s3://measurements/runs/first/fit.log" in done.stderr
    assert "RuntimeError: a fault" in system.cat_file("measurements/runs/first/fit.log").decode()
    require_silence(done, system, caplog)


@pytest.mark.clusters
@pytest.mark.parametrize("options", ["options"], indirect=True)
def test_of_workers_that_fail(
    options: list[str], call: Any, system: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    system.pipe_file("measurements/rows.zarr/c/7/0", b"no chunk at all")
    done = call(["fit", CONFIG, "--set=cluster.workers=1", *options])
    assert done.exit_code == 2, done.output
    require_silence(done, system, caplog)
    out, error = capfd.readouterr()  # the worker's own
    assert MARK not in (out + error).lower()
