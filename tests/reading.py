"""Sources around sources: what is read is written down, takes a while, or fails for a moment, in whatever process."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster

from dask_em.rows import Rows, Schema
from dask_em.storage.source import Atom, Source

__all__ = ["Flaky", "Logged", "caused", "loads", "workers_here"]


@dataclass(frozen=True)
class _Around:
    """All of a source but its rows."""

    source: Source

    @property
    def schema(self) -> Schema:
        return self.source.schema

    @property
    def name(self) -> str:
        return self.source.name

    def atoms(self) -> Sequence[Atom]:
        return self.source.atoms()


@dataclass(frozen=True)
class Logged(_Around):
    """A source that writes a line for each load, and takes up to ``delay`` seconds for it."""

    log: Path
    delay: float = 0.0

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        time.sleep(random.uniform(0, self.delay))
        with self.log.open("a") as file:
            file.write(f"{atom.place}\n")
        return self.source.load(atom, rows)


def loads(log: Path) -> Counter[str]:
    """Return how often each atom was loaded."""
    return Counter(log.read_text().splitlines() if log.exists() else [])


@dataclass(frozen=True)
class Flaky(_Around):
    """A source of which one atom cannot be read the first few times."""

    folder: Path  # for a mark for each failure
    error: Callable[[], BaseException]
    place: str
    times: int = 2

    @property
    def failures(self) -> int:
        return len(list(self.folder.glob("failure-*")))

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        if atom.place == self.place and self.failures < self.times:
            (self.folder / f"failure-{self.failures}").touch()
            raise self.error()
        return self.source.load(atom, rows)


def caused(error: Exception, cause: Exception) -> Any:
    """Return an error with its cause, as ``raise ... from`` leaves it."""
    error.__cause__ = cause
    return error


@contextmanager
def workers_here() -> Iterator[Client]:
    """Give a client of two workers of one thread each, in this process."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2)
        yield client
