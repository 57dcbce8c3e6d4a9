"""Whatever kills the writer or damages a file: a checkpoint is read as it was written, or the one before it is."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dask_em.driver.checkpoint
from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.driver import Checkpoint, Checkpoints
from dask_em.errors import DataError, InputError
from dask_em.storage import load_record, save_record

X = np.random.default_rng(0).standard_normal((300, 2)) + 4 * np.eye(2)[np.arange(300) % 2]

KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from dask_em.driver import Checkpoints

to, folder = map(Path, sys.argv[1:])
checkpoint = Checkpoints(folder).newest()
CALLS = {"open", "getbuffer", "flush", "fsync", "chmod", "replace", "close", "unlink"}

def killed_at(number):
    "Fork a process that writes a checkpoint, and is killed when it makes its so manieth call."
    if child := os.fork():
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    calls = 0
    def count(frame, event, function):
        nonlocal calls
        if event == "c_call" and function.__name__ in CALLS:
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
    writer = Checkpoints(shutil.copytree(folder, to / str(number)))
    with writer.owned():
        sys.setprofile(count)
        writer.save(checkpoint)
        sys.setprofile(None)
    os._exit(0)

number = 1
while killed_at(number):
    number += 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints of a fit of four passes."""
    folder = tmp_path_factory.mktemp("fit")
    for _ in GaussianMixture(2, max_iter=4, tol=0.0, random_state=0).iterate(X, checkpoints=folder):
        pass
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Checkpoint:
    found = Checkpoints(folder).newest()
    assert found is not None
    assert found.passes == 4
    return found


@pytest.fixture
def files(tmp_path: Path, checkpoint: Checkpoint) -> tuple[Path, Path]:
    """Two checkpoints, of which the second is told by its weight."""
    write(tmp_path, checkpoint, dataclasses.replace(checkpoint, weight=-1.0))
    before, newest = [tmp_path / name for name in Checkpoints(tmp_path).names()]
    return before, newest


def write(folder: Path, *checkpoints: Checkpoint) -> None:
    writer = Checkpoints(folder)
    with writer.owned():
        for each in checkpoints:
            writer.save(each)


def weight(folder: Path) -> float:
    found = Checkpoints(folder).newest()
    assert found is not None
    return found.weight


def test_it_comes_back_with_the_same_bits(tmp_path: Path, checkpoint: Checkpoint) -> None:
    write(tmp_path, checkpoint)
    assert digest(Checkpoints(tmp_path).newest()) == digest(checkpoint)


def test_a_folder_without_any_has_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path).newest() is None
    assert Checkpoints(tmp_path / "missing").newest() is None


@pytest.mark.chaos
def test_killed_at_any_step_it_is_there_or_not(tmp_path: Path, folder: Path, checkpoint: Checkpoint) -> None:
    subprocess.run([sys.executable, "-c", KILLED, tmp_path, folder], check=True)
    killed = sorted(tmp_path.iterdir())
    assert len(killed) > 10
    seen = set()
    for each in killed:
        names = Checkpoints(each).names()
        seen.add(tuple(names))
        assert digest(Checkpoints(each).newest()) == digest(checkpoint)
        write(each, checkpoint)
        left = {path.name for path in each.iterdir()}
        assert len(left) == 3, "two checkpoints, the lock, and nothing that a kill left"
    assert len(seen) == 3, "killed before the new one was there, before the oldest was removed, and after"


@pytest.mark.chaos
def test_a_flipped_byte_is_noticed_wherever_it_is(files: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    _, newest = files
    whole, seen = newest.read_bytes(), set()
    for position in range(0, len(whole), max(1, len(whole) // 250)):
        flipped = bytearray(whole)
        flipped[position] ^= 0xFF
        newest.write_bytes(flipped)
        caplog.clear()
        found = weight(newest.parent)
        seen.add(found)
        assert found == -1.0 or f"{newest}" in caplog.text
    assert seen == {-1.0, 300.0}, "a byte of the zip that says nothing, and one that does"


@pytest.mark.chaos
def test_a_truncated_file_is_left_out(files: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    _, newest = files
    whole = newest.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 100)):
        newest.write_bytes(whole[:length])
        caplog.clear()
        assert weight(newest.parent) == 300.0
        assert f"a checkpoint is left out: {newest}" in caplog.text


def test_one_that_holds_something_else_is_left_out(files: tuple[Path, Path]) -> None:
    before, newest = files
    header, value = load_record(newest)
    save_record(newest, header, dataclasses.replace(value, weight=-3.0))
    assert weight(newest.parent) == 300.0
    assert before.exists()


def test_a_damaged_one_is_removed_with_the_next_write(files: tuple[Path, Path], checkpoint: Checkpoint) -> None:
    before, newest = files
    newest.write_bytes(b"damaged")
    writer = Checkpoints(newest.parent)
    with writer.owned():
        assert writer.newest() is not None
        writer.save(dataclasses.replace(checkpoint, weight=-2.0))
    first, second = [newest.parent / name for name in Checkpoints(newest.parent).names()]
    assert first == before
    assert second > newest
    assert weight(newest.parent) == -2.0


def test_where_all_are_damaged_a_sentence_says_so(files: tuple[Path, Path]) -> None:
    for path in files:
        path.write_bytes(b"damaged")
    with pytest.raises(DataError, match="no checkpoint in .* is whole, so that the fit must begin anew: .*truncated"):
        Checkpoints(files[0].parent).newest()


def test_only_the_newest_two_are_kept(folder: Path) -> None:
    assert Checkpoints(folder).names() == ["checkpoint-000003.npz", "checkpoint-000004.npz"]
    assert len(list(folder.iterdir())) == 3


def test_they_are_written_as_often_as_is_asked_for(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(dask_em.driver.checkpoint.time, "monotonic", lambda: now)
    going = dataclasses.replace(
        checkpoint, states=tuple(dataclasses.replace(state, outcome=None) for state in checkpoint.states)
    )
    writer, numbers = Checkpoints(tmp_path, every=10.0), []
    with writer.owned():
        for second in range(0, 35, 3):
            now = float(second)
            writer.save(dataclasses.replace(going, weight=now))
            numbers.append(weight(tmp_path))
        assert numbers == [0.0] * 4 + [12.0] * 4 + [24.0] * 4
    assert weight(tmp_path) == 33.0, "the last is written when the folder is given back"
    with writer.owned():
        writer.save(dataclasses.replace(checkpoint, weight=34.0))
        assert weight(tmp_path) == 34.0, "and where the fit has ended"


def test_what_is_held_back_is_written_whatever_ends_the_fit(tmp_path: Path) -> None:
    iterations = GaussianMixture(2, max_iter=9, tol=0.0, random_state=0).iterate(
        X, checkpoints=Checkpoints(tmp_path, every=1e9)
    )
    for iteration in iterations:
        if iteration.entry.number == 3:
            break
    iterations.close()
    found = Checkpoints(tmp_path).newest()
    assert found is not None
    assert found.passes == 3


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    mine = Checkpoints(tmp_path)
    with mine.owned():
        with mine.owned():
            pass
        with (
            pytest.raises(
                InputError, match=rf"another fit .*{tmp_path} \(process {os.getpid()} on .*, since 2\d+-"
            ) as e,
            Checkpoints(tmp_path).owned(),
        ):
            pass
        assert socket.gethostname() in str(e.value)
    with Checkpoints(tmp_path).owned():
        pass


def test_a_folder_that_was_moved_meanwhile_is_not_owned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def move(*_: Any) -> None:
        (tmp_path / "here").rename(tmp_path / "aside")

    monkeypatch.setattr(fcntl, "flock", move)
    with pytest.raises(InputError, match="another fit is writing"), Checkpoints(tmp_path / "here").owned():
        pass


@pytest.mark.chaos
def test_an_owner_that_was_killed_owns_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom dask_em.driver import Checkpoints\n"
        "with Checkpoints(sys.argv[1]).owned(): os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "lock").read_text().startswith("process ")
    with Checkpoints(tmp_path).owned():
        assert f"process {os.getpid()} on" in (tmp_path / "lock").read_text()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/here cannot be written: Not a directory; name another folder"):
        Checkpoints(tmp_path / "file/here").owned().__enter__()
