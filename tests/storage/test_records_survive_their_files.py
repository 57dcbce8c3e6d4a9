from __future__ import annotations

import gc
import json
import os
import signal
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dask_em._record import record, values_equal
from dask_em.errors import DataError, InternalError
from dask_em.rows import Frame
from dask_em.statistics import Manifest
from dask_em.storage import archive
from dask_em.storage.archive import load_record, save_record

VALUE = (Frame(np.array([0.1, -0.0, np.nan])), Manifest(3, 24, ("a", "b")), None, 0.1, Frame(np.zeros((0, 2))))


@record
class Headed:
    header: Any


def test_bits_and_header_come_back(tmp_path: Path) -> None:
    save_record(tmp_path / "m.npz", {"estimator": "GaussianMixture", "seed": 3}, VALUE)
    header, value = load_record(tmp_path / "m.npz")
    assert header == {"estimator": "GaussianMixture", "seed": 3}
    assert values_equal(value, VALUE)


def test_numpy_reads_the_file_without_pickle(tmp_path: Path) -> None:
    save_record(tmp_path / "m.npz", {}, VALUE)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        assert set(file.files) == {"header", "0/centre", "4/centre"}
        assert file["header"].ndim == 0
        told = json.loads(str(file["header"]))
    assert (told["format"], told["version"]) == ("dask_em", 1)


def test_equal_records_make_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_record(tmp_path / name, {"x": 1}, VALUE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_record(tmp_path / "m", {"n": 1}, VALUE)
    monkeypatch.setattr(archive.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match="cannot write .*m: No space left on device; check folder and space"):
        save_record(tmp_path / "m", {"n": 2}, VALUE)
    assert load_record(tmp_path / "m")[0] == {"n": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.filterwarnings("error")
def test_ctrl_c_within_a_member_is_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_record(tmp_path / "m", {"n": 1}, VALUE)
    begin = zipfile.ZipFile.open

    def begun(archive: zipfile.ZipFile, name: zipfile.ZipInfo, *rest: Any, **more: Any) -> Any:
        handle = begin(archive, name, *rest, **more)
        if name.filename == "4/centre.npy":
            signal.raise_signal(signal.SIGINT)
        return handle

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "open", begun)
        with pytest.raises(KeyboardInterrupt):
            save_record(tmp_path / "m", {"n": 2}, VALUE)
    gc.collect()  # what is left of the archive may not speak
    assert load_record(tmp_path / "m")[0] == {"n": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file: .*nothing"):
        load_record(tmp_path / "nothing")
    with pytest.raises(DataError, match="cannot write .*nowhere/m"):
        save_record(tmp_path / "nowhere" / "m", {}, VALUE)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros(2))
    with pytest.raises(DataError, match="other.npz is no file of dask_em"):
        load_record(tmp_path / "other.npz")
    np.savez(tmp_path / "list.npz", header=np.array("[]"))
    with pytest.raises(DataError, match="list.npz is no file of dask_em"):
        load_record(tmp_path / "list.npz")
    for content in (b"", b"text", b"\x80\x04N."):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(DataError, match="x cannot be read as a file of dask_em"):
            load_record(tmp_path / "x")
    np.save(tmp_path / "x.npy", np.zeros(2))
    with pytest.raises(DataError, match="x.npy cannot be read as a file of dask_em"):
        load_record(tmp_path / "x.npy")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", header=np.array({"format": "dask_em"}, dtype=object))
    with pytest.raises(DataError, match="p.npz cannot be read as a file of dask_em"):
        load_record(tmp_path / "p.npz")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    save_record(tmp_path / "m", {}, VALUE)
    size = (tmp_path / "m").stat().st_size
    os.truncate(tmp_path / "m", int(size * keep))
    with pytest.raises(DataError, match="m cannot be read as a file of dask_em .*truncated"):
        load_record(tmp_path / "m")


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    value = (Frame(np.arange(1000.0)),)
    save_record(tmp_path / "m", {}, value)
    content = bytearray((tmp_path / "m").read_bytes())
    at = content.find(np.arange(500.0, 502.0).tobytes())
    content[at] ^= 1
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(DataError, match="m cannot be read as a file of dask_em .*CRC"):
        load_record(tmp_path / "m")


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "VERSION", 2)
    save_record(tmp_path / "m", {}, VALUE)
    monkeypatch.undo()
    with pytest.raises(DataError, match="m was written by a newer dask_em .format 2, known are up to 1.; upgrade"):
        load_record(tmp_path / "m")


def test_a_file_that_lacks_an_array_is_refused(tmp_path: Path) -> None:
    save_record(tmp_path / "m", {}, (Frame(np.zeros(2)),))
    with np.load(tmp_path / "m") as file:
        np.savez(tmp_path / "n.npz", header=file["header"])
    with pytest.raises(DataError, match="n.npz lacks the array '0/centre'"):
        load_record(tmp_path / "n.npz")


def test_names_that_would_collide_are_faults_of_ours(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="may not hold"):
        save_record(tmp_path / "m", {"version": 3}, VALUE)
    with pytest.raises(InternalError, match="named 'header'"):
        save_record(tmp_path / "m", {}, Headed(np.zeros(2)))


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_url_is_a_place_for_a_record_too(scheme: str, tmp_path: Path) -> None:
    save_record(f"{scheme}://{tmp_path}/m.npz", {"x": 1}, VALUE)
    header, value = load_record(f"{scheme}://{tmp_path}/m.npz")
    assert header == {"x": 1}
    assert values_equal(value, VALUE)
    with pytest.raises(DataError, match=r"no such file: .*none.npz; check the path"):
        load_record(f"{scheme}://{tmp_path}/none.npz")
