"""A store that is busy, slow or out of reach is asked again; what will not pass is told in one sentence."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
import zarr.storage

import dask_em
from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.driver import Checkpoints
from dask_em.errors import DataError
from dask_em.storage import retrying
from dask_em.storage.folder import folder_at
from tests.services.store import KEY, SECRET

CONFIG = str(Path(__file__).parents[2] / "configs/s3.yaml")
ROWS, RUN = "s3://measurements/rows.zarr", "s3://measurements/runs/first"
# One try of botocore, so that a request that is refused comes to us sooner: s3fs has five of its own all the same
IMPATIENT = "{retries: {max_attempts: 0}}"
HERE = ["--set=cluster.kind=threads", "--set=fit.checkpoint_every=0"]


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PAUSE_MOST", 0.5)


@pytest.fixture
def expected(store: Any, shapes: Any) -> str:
    """What the model comes to while nothing happens; the rows are at ROWS."""
    zarr.create_array(zarr.storage.FsspecStore.from_url(ROWS), data=shapes, chunks=(500, 3))
    return bits(GaussianMixture(3, random_state=0, tol=1e-4, max_iter=100).fit(ROWS))


def bits(model: Any) -> str:
    return digest(model._fitted.params)


def told_in_one_sentence(done: Any, *words: str) -> None:
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert all(word in line for word in words), line


def test_a_storm_of_503(store: Any, call: Any, expected: str, short_pauses: None) -> None:
    store.calm()
    store.busy = 0.2
    impatient = [f"--set={section}.storage_options.config_kwargs={IMPATIENT}" for section in ("data", "output")]
    done = call(["fit", CONFIG, *HERE, *impatient])
    assert store.refused > 5
    store.calm()
    assert done.exit_code == 0, done.output
    assert bits(dask_em.load(f"{RUN}/model.npz")) == expected
    store.busy = 0.2
    out = "s3://measurements/labels.parquet"
    assert call(["predict", RUN, ROWS, "--out", out]).exit_code == 0
    store.calm()
    rows = dask_em.open_source(out)
    found = np.concatenate([rows.load(atom).values[:, 0] for atom in rows.atoms()])
    np.testing.assert_array_equal(found, dask_em.load(f"{RUN}/model.npz").predict(ROWS).compute())


def test_a_store_that_answers_nobody_for_a_while(store: Any, call: Any, expected: str) -> None:
    """Longer than s3fs and botocore try for."""
    options = [f"--set={section}.storage_options.config_kwargs={IMPATIENT}" for section in ("data", "output")]
    store.busy = 1.0
    calm = threading.Timer(3.0, store.calm)
    calm.start()
    done = call(["fit", CONFIG, *HERE, *options])
    calm.join()
    assert done.exit_code == 0, done.output
    assert bits(dask_em.load(f"{RUN}/model.npz")) == expected


def test_a_slow_store(store: Any, call: Any, expected: str) -> None:
    store.delay = 0.03
    done = call(["fit", CONFIG, *HERE])
    store.calm()
    assert done.exit_code == 0, done.output
    assert bits(dask_em.load(f"{RUN}/model.npz")) == expected


def test_writes_that_fail_for_a_moment_are_told(
    store: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder: Any = folder_at("s3://measurements/folder")
    put, failures = folder.location.filesystem.put_file, [ConnectionResetError("gone"), TimeoutError("slow")]

    def flaky(*given: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop()
        return put(*given, **named)

    monkeypatch.setattr(folder.location.filesystem, "put_file", flaky)
    with folder.writing("note") as file:
        file.write(b"whole")
    with folder.reading("note") as file:
        assert file.read() == b"whole"
    assert [record.message for record in caplog.records if record.name == "dask_em"] == [
        "writing s3://measurements/folder/note was tried again (try 2 of 8): slow",
        "writing s3://measurements/folder/note was tried again (try 3 of 8): gone",
    ]


def test_what_dies_while_it_writes_leaves_the_file_before(store: Any) -> None:
    folder = folder_at("s3://measurements/folder")
    with folder.writing("note") as file:
        file.write(b"before")
    writing = folder.writing("note")
    writing.__enter__().write(b"half of what")
    assert not writing.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with folder.reading("note") as file:
        assert file.read() == b"before"
    assert folder.names() == ["note"]


@pytest.mark.chaos
def test_an_owner_that_was_killed_is_named_with_the_way_out(store: Any, system: Any) -> None:
    code = (
        "import os, sys\nfrom dask_em.driver import Checkpoints\n"
        "with Checkpoints(sys.argv[1]).owned(): os.kill(os.getpid(), 9)"
    )
    place = "s3://measurements/runs/killed"
    assert subprocess.run([sys.executable, "-c", code, place], check=False, timeout=60).returncode == -9
    with pytest.raises(Exception, match=r"If it died without a word, remove the object (\S+) and begin") as raised:
        Checkpoints(place).owned().__enter__()
    assert system.exists(f"{place}/lock")
    system.rm(str(raised.value).rpartition("remove the object ")[2].split()[0])
    with Checkpoints(place).owned():
        pass


@pytest.mark.usefixtures("expected")
@pytest.mark.parametrize("section", ["data", "output"])
def test_wrong_credentials(call: Any, store: Any, section: str) -> None:
    wrong = f"{{key: nobody, secret: hush-hush, endpoint_url: '{store.url}'}}"
    done = call(["fit", CONFIG, *HERE, f"--set={section}.storage_options={wrong}"])
    told_in_one_sentence(done, "check the address and the storage_options, or the credentials")
    assert "hush-hush" not in done.output
    assert str(ROWS if section == "data" else RUN) in done.stderr


@pytest.mark.usefixtures("expected", "no_environment")
def test_no_credentials(call: Any, store: Any) -> None:
    done = call(["fit", CONFIG, *HERE, f"--set=data.storage_options.endpoint_url={store.url}"])
    told_in_one_sentence(done, ROWS, "credentials")


@pytest.mark.usefixtures("expected")
def test_a_missing_bucket(call: Any) -> None:
    done = call(["fit", CONFIG, *HERE, "--set=data.source=s3://nowhere/rows.zarr"])
    told_in_one_sentence(done, "s3://nowhere/rows.zarr", "bucket does not exist")
    done = call(["fit", CONFIG, *HERE, "--set=output.directory=s3://nowhere/run"])
    told_in_one_sentence(done, "s3://nowhere/run", "bucket does not exist")
    done = call(["show", "s3://nowhere/run"])
    told_in_one_sentence(done, "s3://nowhere/run/model.npz")


@pytest.mark.usefixtures("store")
def test_a_missing_object(call: Any) -> None:
    done = call(["fit", CONFIG, *HERE])
    told_in_one_sentence(done, ROWS)
    done = call(["score", "s3://measurements/model.npz", ROWS])
    told_in_one_sentence(done, "no such file: s3://measurements/model.npz; check the path")
    done = call(["fit", "s3://measurements/config.yaml"])
    told_in_one_sentence(done, "cannot read the config s3://measurements/config.yaml")
    done = call(["inspect", "s3://measurements/nothing.parquet"])
    told_in_one_sentence(done, "no such file or folder: s3://measurements/nothing.parquet; check the path")


def test_obstore_tells_it_too(store: Any) -> None:
    pytest.importorskip("obstore", reason="obstore is not installed")
    wrong = {"aws_access_key_id": "nobody", "aws_secret_access_key": "hush-hush", "endpoint": store.url}
    with pytest.raises(
        DataError, match=r"rows.zarr holds no Zarr array or group that can be opened \(.*obstore's here"
    ) as e:
        dask_em.open_source(ROWS, reader="obstore", storage_options={**wrong, "client_options": {"allow_http": True}})
    assert "hush-hush" not in str(e.value)
    assert "\n" not in str(e.value)
    assert KEY not in str(e.value)
    assert SECRET not in str(e.value)
