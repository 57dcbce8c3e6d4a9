from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import zarr
from distributed import Client

from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.errors import DataError, InternalError
from dask_em.execution import DaskReducer, Threads
from dask_em.execution.counting import counted
from dask_em.reduction import Serial
from dask_em.storage import open_source, retrying
from tests.execution.cases import Seeded, layout_of, sums
from tests.reading import Flaky, Logged, caused, loads, workers_here

PLACE = "part 5"
SECRET = "https://user:hunter2@bucket.example/rows?X-Amz-Signature=hunter2"


class ClientResponseError(Exception):
    """As aiohttp's."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status}, message='Service Unavailable', url='{SECRET}'")
        self.status = status


class ClientError(Exception):
    """As botocore's."""

    def __init__(self, status: int) -> None:
        super().__init__("An error occurred when calling the GetObject operation: Please reduce your request rate")
        self.response = {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": status}}


class ServerDisconnectedError(Exception):
    """As aiohttp's, of a class that is known by name."""


class ClientConnectionError(ServerDisconnectedError):
    """As above."""


TRANSIENT: dict[str, Callable[[], Exception]] = {
    "timeout": partial(TimeoutError, "slow"),
    "reset": partial(ConnectionResetError, "closing transport"),  # without a number
    "input/output": partial(OSError, errno.EIO, "Input/output error"),
    "aiohttp": partial(ClientResponseError, 503),
    "aiohttp's connection": partial(ClientConnectionError, "Server disconnected"),
    "botocore": partial(ClientError, 503),
    "the cause": lambda: caused(DataError("chunk c/0/0 cannot be read; restore it"), ClientResponseError(429)),
}
PERMANENT: dict[str, Callable[[], Exception]] = {
    "missing": partial(FileNotFoundError, errno.ENOENT, "No such file"),
    "forbidden": partial(PermissionError, errno.EACCES, "Permission denied"),
    "value": partial(ValueError, "bad magic number"),
    "data": partial(DataError, "chunk c/0/0 is missing; restore it"),
    "no right": partial(ClientResponseError, 403),
    "no object": partial(ClientError, 404),
}


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, each as long as it may be, and none of them waited for."""
    made: list[float] = []
    monkeypatch.setattr(retrying.Retrying, "_pause", lambda _, seconds: made.append(seconds))
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    return made


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with workers_here() as client:
        yield client


def flaky(folder: Path, error: Callable[[], Exception], times: int = 2) -> Flaky:
    return Flaky(Logged(Seeded(22), folder / "log"), folder, error, PLACE, times)


@pytest.mark.parametrize("kind", TRANSIENT)
def test_what_may_pass_is_tried_again_and_told(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = flaky(tmp_path, TRANSIENT[kind])
    reducer = Serial(layout_of(source, 8))
    with caplog.at_level("WARNING", logger="dask_em"):
        assert digest(reducer.total(sums)) == digest(Serial(layout_of(Seeded(22), 8)).total(sums))
    news = reducer.news()
    assert len(news) == source.failures == 2
    assert news[0].startswith(f"reading {PLACE} (block 1, rows 0 to ")
    assert "was tried again (try 2 of 8): " in news[0]
    assert [record.message for record in caplog.records] == list(news)
    assert reducer.news() == ()


@pytest.mark.parametrize("kind", PERMANENT)
def test_what_will_not_pass_fails_at_once_and_is_placed(kind: str, tmp_path: Path, pauses: list[float]) -> None:
    source = flaky(tmp_path, PERMANENT[kind], 1000)
    with pytest.raises(DataError, match=r"part 5 \(block 1, rows 0 to \d+ of it\)") as raised:
        Serial(layout_of(source, 8)).total(sums)
    assert source.failures == 1
    assert not pauses
    assert raised.value.__cause__ is not None


def test_an_error_of_our_own_stays_what_it_is(tmp_path: Path) -> None:
    source = flaky(tmp_path, partial(InternalError, "a promise was broken"))
    with pytest.raises(InternalError, match=r"^a promise was broken$"):
        Serial(layout_of(source)).total(sums)


def test_tries_are_bounded_and_pauses_grow(tmp_path: Path, pauses: list[float]) -> None:
    source = flaky(tmp_path, TRANSIENT["timeout"], 1000)
    with pytest.raises(DataError, match=r"cannot read part 5 \(block .*: slow. It was tried 8 times: look whether"):
        Serial(layout_of(source)).total(sums)
    assert source.failures == retrying.TRIES == 8
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 16]
    assert max(pauses) <= retrying.PAUSE_MOST


@pytest.mark.parametrize("times", [1, 1000])
def test_no_secret_is_told(times: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reducer = Serial(layout_of(flaky(tmp_path, TRANSIENT["aiohttp"], times)))
    told: list[str] = []
    with caplog.at_level("WARNING", logger="dask_em"):
        try:
            reducer.total(sums)
        except DataError as error:
            told.append(str(error))
    told += [*reducer.news(), caplog.text]
    assert len(told) == (2 if times == 1 else 9)
    assert all("bucket.example/rows" in text and "hunter2" not in text for text in told)


def test_a_long_outage_is_told_in_few_notes(tmp_path: Path) -> None:
    source: Any = Seeded(40)
    for i in range(40):
        (tmp_path / str(i)).mkdir()
        source = Flaky(source, tmp_path / str(i), TRANSIENT["timeout"], f"part {i}", 1)
    reducer = Serial(layout_of(source))
    reducer.total(sums)
    assert len(reducer.news()) == retrying.NOTES < 40


@pytest.mark.parametrize("keep", [0.0, 1e9], ids=["streamed", "resident"])
@pytest.mark.parametrize("kind", ["serial", "threads", "dask"])
def test_every_reducer_has_the_notes_once(kind: str, keep: float, tmp_path: Path, client: Client) -> None:
    layout = layout_of(flaky(tmp_path, TRANSIENT["botocore"]))
    with DaskReducer(layout, client, keep=keep) as dask:
        reducer: Any = {"serial": Serial(layout, keep), "threads": Threads(layout, 2, keep), "dask": dask}[kind]
        reducer.total(sums)
        assert [note.partition(" (")[0] for note in reducer.news()] == [f"reading {PLACE}"] * 2
        reducer.total(sums)
        assert reducer.news() == ()
    assert loads(tmp_path / "log")[PLACE] == (1 if keep else 2)


def test_a_counting_read_is_tried_again_too(tmp_path: Path) -> None:
    class Uncounted(Seeded):
        def atoms(self) -> Any:
            return [type(atom)(None, atom.nbytes, atom.place, atom.where) for atom in super().atoms()]

    source = Flaky(Uncounted(8), tmp_path, TRANSIENT["reset"], PLACE)
    assert [atom.rows for atom in counted(source)] == [70] * 8
    assert source.failures == 2


def test_the_history_tells_which_pass_it_was(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((4_000, 2))
    zarr.create_array(tmp_path / "rows.zarr", data=rows, chunks=(1_000, 2))
    inner = open_source(tmp_path / "rows.zarr")
    place = inner.atoms()[2].place
    source = Flaky(inner, tmp_path, TRANSIENT["timeout"], place, 1)
    (tmp_path / "failure-0").touch()  # it has failed already
    model = GaussianMixture(2, max_iter=3, tol=0.0, init_params="random_from_data", random_state=0)
    with dask.config.set({"dask_em.resident": 0}):
        for iteration in model.iterate(source):
            if iteration.entry.number == 1:
                (tmp_path / "failure-0").unlink()
    events = [entry.events for entry in model.history_]
    assert events[0] == events[2] == ()
    (told,) = events[1]
    assert told.startswith(f"reading {place} (block ")
