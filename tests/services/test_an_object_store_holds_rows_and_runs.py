"""Rows at s3://, and all that a fit leaves there: the same bits as from a disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
import zarr
import zarr.storage

import dask_em
from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.driver import Checkpoints
from dask_em.errors import DataError, InputError
from tests.reading import workers_here

CONFIG = str(Path(__file__).parents[2] / "configs/s3.yaml")
ROWS, RUN = "s3://measurements/rows.zarr", "s3://measurements/runs/first"
FILES = {"config.yaml", "model.npz", "history.csv", "log_likelihood.png", "fit.log", "checkpoints"}


def fitted(data: Any, **given: Any) -> GaussianMixture:
    return GaussianMixture(3, random_state=0, **given).fit(data)


def bits(model: Any) -> str:
    return digest(model._fitted.params)


def names(system: Any, folder: str) -> set[str]:
    return {path.rpartition("/")[2] for path in system.ls(folder, detail=False)}


def sets(*overrides: str) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


@pytest.fixture
def rows(store: Any, shapes: Any) -> str:
    """The URL of a Zarr array."""
    zarr.create_array(zarr.storage.FsspecStore.from_url(ROWS), data=shapes, chunks=(300, 3))
    return ROWS


@pytest.fixture(scope="module")
def expected(shapes: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bits of a fit of the same rows from a disk, cut alike."""
    path = tmp_path_factory.mktemp("local") / "rows.zarr"
    zarr.create_array(path, data=shapes, chunks=(300, 3))
    return bits(fitted(str(path)))


def test_zarr(rows: str, expected: str) -> None:
    assert bits(fitted(rows)) == expected


def test_parquet_and_npy(system: Any, shapes: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame(shapes, columns=["a", "b", "c"])
    for part in range(3):
        frame[part * 1000 : (part + 1) * 1000].to_parquet(tmp_path / f"{part}.parquet", row_group_size=250)
        system.put_file(str(tmp_path / f"{part}.parquet"), f"measurements/rows/{part}.parquet")
    there = fitted("s3://measurements/rows", init_params="k-means++")
    assert there.feature_names_in_.tolist() == ["a", "b", "c"]
    assert bits(there) == bits(fitted(str(tmp_path / "*.parquet"), init_params="k-means++"))
    whole = io.BytesIO()
    np.save(whole, shapes)
    system.pipe_file("measurements/rows.npy", whole.getvalue())
    np.save(tmp_path / "rows.npy", shapes)
    assert bits(fitted("s3://measurements/rows.npy")) == bits(fitted(str(tmp_path / "rows.npy")))


def test_options_in_place_of_the_environment(rows: str, store: Any, no_environment: None) -> None:
    from tests.services.store import KEY, SECRET

    options = {"key": KEY, "secret": SECRET, "endpoint_url": store.url}
    source = dask_em.open_source(rows, storage_options=options)
    model = fitted(source)
    model.save("s3://measurements/model.npz", storage_options=options)
    assert bits(dask_em.load("s3://measurements/model.npz", storage_options=options)) == bits(model)
    written = model.predict_to(source, "s3://measurements/labels.parquet", storage_options=options)
    assert written.rows == 3000


@pytest.mark.parametrize("way", ["an opened array", "a URL and its reader"])
def test_obstore_reads_the_same(rows: str, expected: str, store: Any, way: str) -> None:
    stores = pytest.importorskip("obstore.store", reason="obstore is not installed")
    options = {"endpoint": store.url, "client_options": {"allow_http": True}}
    if way == "an opened array":
        there = zarr.storage.ObjectStore(stores.S3Store("measurements", prefix="rows.zarr", **options))
        data: Any = zarr.open_array(there, mode="r")
    else:
        data = dask_em.open_source(rows, reader="obstore", storage_options=options)
    model = fitted(data)
    assert bits(model) == expected
    with workers_here() as client:
        model.predict_to(data, "s3://measurements/labels.zarr", client=client)
    np.testing.assert_array_equal(
        zarr.open_array("s3://measurements/labels.zarr", mode="r")[:], fitted(rows).predict(rows)
    )


def test_a_run_directory(rows: str, expected: str, call: Any, system: Any) -> None:
    done = call(["fit", CONFIG, *sets("cluster.kind=threads", "fit.checkpoint_every=0", "fit.max_passes=2")])
    assert done.exit_code == 0, done.output
    assert names(system, RUN) == FILES
    assert names(system, f"{RUN}/checkpoints") <= {f"checkpoint-{i:06d}.npz" for i in range(9)}, "and no lock"
    first = bits(dask_em.load(f"{RUN}/model.npz"))
    done = call(["fit", CONFIG, "--resume", *sets("cluster.kind=threads", "fit.tolerance=1e-3")])
    assert done.exit_code == 0, done.output
    assert bits(dask_em.load(f"{RUN}/model.npz")) == expected
    log = system.cat_file(f"{RUN}/fit.log").decode()
    assert log.index(" fits ") < log.index(" resumes "), "the log goes on"
    assert "A mixture of 3 components" in call(["show", RUN]).stdout
    assert "nats per row" in call(["score", f"{RUN}/model.npz", rows]).stdout
    said = call(["predict", RUN, f"{RUN}/config.yaml", "--out", "s3://measurements/labels.zarr"])
    assert said.exit_code == 0, said.output
    labels = zarr.open_array("s3://measurements/labels.zarr", mode="r")[:]
    np.testing.assert_array_equal(labels, dask_em.load(RUN + "/model.npz").predict(rows).compute())
    again = call(["fit", f"{RUN}/config.yaml", *sets("cluster.kind=threads")])
    assert again.exit_code == 0, again.output
    assert f"the finished run that was in {RUN} is now in {RUN}.1" in again.stderr
    assert names(system, f"{RUN}.1") == names(system, RUN) == FILES
    assert first != expected


@pytest.mark.clusters
def test_the_config_as_it_is_on_workers_of_this_machine(
    rows: str, expected: str, call: Any, store: Any, system: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")  # the workers' too
    there = [f"{section}.storage_options.endpoint_url={store.url}" for section in ("data", "output")]
    done = call(["fit", CONFIG, *sets(*there, "fit.tolerance=1e-3")])
    assert done.exit_code == 0, done.output
    system.get_file(f"{RUN}/model.npz", "model.npz")
    assert bits(dask_em.load("model.npz")) == expected


def test_checkpoints_of_a_fit_in_python(rows: str, expected: str) -> None:
    place = "s3://measurements/fits/one"
    for _ in GaussianMixture(3, random_state=0).iterate(rows, checkpoints=place):
        break
    model = GaussianMixture(3, random_state=0)
    with pytest.raises(InputError, match="fits/one holds the checkpoints of an earlier fit; resume it"):
        next(model.iterate(rows, checkpoints=place))
    for _ in model.iterate(rows, checkpoints=place, resume=True):
        pass
    assert bits(model) == expected


def test_rows_spooled_there(rows: str, expected: str, system: Any, shapes: Any) -> None:
    source = dask_em.spool(shapes, "s3://measurements/spooled.zarr")
    assert bits(fitted(source)) == bits(fitted("s3://measurements/spooled.zarr"))
    assert dask_em.spool(shapes, "s3://measurements/spooled.zarr").name == source.name
    assert "_writing" not in names(system, "measurements/spooled.zarr")


def test_a_run_directory_has_one_owner(store: Any, system: Any) -> None:
    place = "s3://measurements/runs/one"
    mine = Checkpoints(place)
    with mine.owned():
        with pytest.raises(
            InputError, match=r"another fit is writing to s3://measurements/runs/one \(process \d+ on"
        ) as e:
            Checkpoints(place).owned().__enter__()
        assert "remove the object s3://measurements/runs/one/lock" in str(e.value)
    assert not system.exists("measurements/runs/one/lock")
    with Checkpoints(place).owned():
        pass


def test_an_answer_that_was_lost_makes_nobody_else_the_owner(store: Any, system: Any) -> None:
    lost: list[str] = []

    def once(method: str, path: str) -> bool:
        if method != "PUT" or not path.endswith("/lock") or lost:
            return False
        lost.append(path)
        return True

    store.lost = once
    with Checkpoints("s3://measurements/runs/one").owned():
        assert lost
    assert not system.exists("measurements/runs/one/lock")


def test_a_fit_whose_lock_was_taken_ends(rows: str, system: Any) -> None:
    place = "s3://measurements/fits/one"
    steps = GaussianMixture(3, random_state=0, tol=0.0, max_iter=9).iterate(rows, checkpoints=place)
    next(steps)
    system.pipe_file("measurements/fits/one/lock", b"process 1 on elsewhere\nits word")
    with pytest.raises(
        InputError, match="no longer this fit's: .* taken by process 1 on elsewhere; what was written before"
    ):
        list(steps)
    assert system.cat_file("measurements/fits/one/lock").startswith(b"process 1"), "which stays the other's"
    assert Checkpoints(place).newest() is not None


@pytest.mark.parametrize("name", ["labels.zarr", "labels.parquet"])
def test_results_half_written_are_no_results(rows: str, shapes: Any, system: Any, name: str) -> None:
    url = f"s3://measurements/{name}"
    model = fitted(rows)
    sink = dask_em.storage.open_sink(url, 3000, None, ("label",), np.dtype("int64"), 300)
    sink.begin()
    from dask_em.storage.blocks import Block

    sink.write(Block(0, 0, ()), iter([np.arange(300)]))
    with pytest.raises(
        DataError, match=rf"{name} is being written \(process \d+ on .*; wait for its end. If its writer"
    ):
        dask_em.open_source(url)
    with pytest.raises(DataError, match="is being written"):
        model.predict_to(rows, url)
    if name.endswith(".parquet"):
        with pytest.raises(FileNotFoundError):
            pd.read_parquet(
                [path for path in system.find(url) if not path.rpartition("/")[2].startswith("_")] or url + "/*"
            )
    else:
        with pytest.raises(FileNotFoundError):
            zarr.open_array(url, mode="r")
    sink.abandon()
    assert system.find(url) == []
    model.predict_to(rows, url)
    with pytest.raises(DataError, match="exists already"):
        model.predict_to(rows, url)
    found = dask_em.open_source(url)
    assert sum(atom.rows or 0 for atom in found.atoms()) == 3000
    assert not [path for path in system.find(url) if path.rpartition("/")[2].startswith("_")]


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise ImportError("Install it")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    for url, extra in (("s3://b/x.zarr", "s3"), ("gs://b/x.zarr", "gcs"), ("az://b/x.zarr", "azure")):
        with pytest.raises(DataError, match=rf"which is not installed: \S+ -m pip install 'dask-em\[{extra}\]'"):
            dask_em.open_source(url)
