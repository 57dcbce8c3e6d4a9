"""Ctrl-C leaves nothing half-started and nothing half-closed: it counts afterwards, unless that never ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from dask_em.execution.launchers import closing


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Ctrl-C is heard, though the program that runs the tests may be deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


class Cluster:
    def __init__(self, done: list[str], when: str) -> None:
        self.done, self.when = done, when
        self.do("started")

    def close(self) -> None:
        self.do("closed")

    def do(self, what: str) -> None:
        if what == self.when:
            signal.raise_signal(signal.SIGINT)
        self.done.append(what)


@pytest.mark.parametrize(
    ("when", "course"), [("started", ["started", "closed"]), ("closed", ["started", "used", "closed"])]
)
def test_of_a_cluster(when: str, course: list[str]) -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt), closing.taken_down(lambda: Cluster(done, when)):
        done.append("used")
    assert done == course


def test_of_a_start_that_fails() -> None:
    def start() -> None:
        signal.raise_signal(signal.SIGINT)
        raise ValueError

    with pytest.raises(KeyboardInterrupt), closing.taken_down(start):
        pytest.fail("it did not start")


def test_unless_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "LONGEST", -1.0)
    gone_on = []

    def never_ends() -> None:
        with closing.undisturbed():
            signal.raise_signal(signal.SIGINT)
            gone_on.append(True)

    with pytest.raises(KeyboardInterrupt):
        never_ends()
    assert not gone_on
