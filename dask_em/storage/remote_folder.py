"""A folder of an object store: a prefix of names. A PUT shows an object whole or not at all; nothing can be renamed."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any

from dask_em.errors import InputError
from dask_em.storage.folder import LOCK, Desk, Folder, LocalFolder, token, who
from dask_em.storage.location import Location

__all__ = ["RemoteFolder", "folder_at_url"]

IN_MEMORY = 64 * 2**20  # bytes of a file that are gathered in memory; more on a disk of this machine

logger = logging.getLogger("dask_em")


def folder_at_url(url: str, storage_options: Mapping[str, Any] | None = None) -> Folder:
    """Return the folder at a URL, which may be of a local file system (file://)."""
    location = Location.of(url, storage_options)
    return LocalFolder(Path(location.path)) if location.local else RemoteFolder(location)


@dataclass(frozen=True)
class RemoteFolder:
    """A folder at a URL. Every request that fails for a moment is made again: each of them may be made twice.

    Its owner is whoever wrote the object ``lock``, by a PUT that succeeds only where there is none (If-None-Match). No
    system gives it back when the owner dies, so a sentence says what to remove; whoever owned it until then notices
    before the next checkpoint, and ends.
    """

    location: Location

    def __str__(self) -> str:
        return self.location.name

    def child(self, name: str) -> RemoteFolder:
        """See :class:`Folder`."""
        return RemoteFolder(self.location.child(name))

    def file(self, name: str) -> str:
        """See :class:`Folder`."""
        return self.location.child(name).name

    def exists(self) -> bool:
        """See :class:`Folder`."""
        return bool(self.names())

    def names(self) -> list[str]:
        """See :class:`Folder`."""
        here = self.location

        def ask() -> list[str]:
            here.filesystem.invalidate_cache()
            return list(here.filesystem.ls(here.path, detail=False))

        try:
            found = here.attempt(ask)
        except FileNotFoundError:
            here.require_bucket()
            return []
        inside = (path.rstrip("/") for path in found if path.strip("/") != here.path.strip("/"))
        return sorted(path.rpartition("/")[2] for path in inside)

    def modified(self, name: str) -> float | None:
        """See :class:`Folder`; by the clock of the store, often in whole seconds."""
        place = self.location.child(name)

        def ask() -> Any:
            place.filesystem.invalidate_cache()
            return place.filesystem.modified(place.path)

        try:
            return float(place.attempt(ask).timestamp())
        except FileNotFoundError:
            return None

    @contextmanager
    def reading(self, name: str) -> Iterator[IO[bytes]]:
        """See :class:`Folder`."""
        place = self.location.child(name)
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            file.write(place.attempt(lambda: place.filesystem.cat_file(place.path)))
            file.seek(0)
            yield file

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """See :class:`Folder`; nothing is sent before the file is whole."""
        with tempfile.NamedTemporaryFile(prefix="dask_em-") as file:
            yield file
            file.flush()
            self.location.child(name).upload(file.name)

    def remove(self, name: str) -> None:
        """See :class:`Folder`."""
        place = self.location.child(name)
        with suppress(FileNotFoundError):
            place.attempt(lambda: place.filesystem.rm_file(place.path), "removing")

    @contextmanager
    def owned(self) -> Iterator[Callable[[], None]]:
        """Hold the lock object; see the class for what becomes of it."""
        mine = f"{who()}\n{token()}"
        self._lock(mine)

        def require() -> None:
            found = self._owner()
            if found != mine:
                raise InputError(
                    f"{self} is no longer this fit's: its {LOCK} was removed"
                    + (f" and taken by {_said(found)}" * bool(found))
                    + "; what was written before is whole, and resuming goes on from there"
                )

        try:
            yield require
        finally:
            self._unlock(mine)

    def _lock(self, mine: str) -> None:
        place = self.location.child(LOCK)
        try:
            place.attempt(lambda: place.filesystem.pipe_file(place.path, mine.encode(), mode="create"), "locking")
        except FileExistsError:
            found = self._owner()
            if found != mine:  # else an answer was lost, and the second try met our own
                raise InputError(
                    f"another fit is writing to {self} ({_said(found)}); wait for its end, or name another folder. If "
                    f"it died without a word, remove the object {place.name} and begin again"
                ) from None

    def _unlock(self, mine: str) -> None:
        try:
            if self._owner() == mine:
                self.remove(LOCK)
        except Exception as error:  # noqa: BLE001  # whatever ended the fit matters more
            logger.warning("%s; remove %s before another fit", error, self.file(LOCK))

    def _owner(self) -> str:
        try:
            with self.reading(LOCK) as file:
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def aside(self) -> RemoteFolder:
        """Copy it to the first free of NAME.1, NAME.2 .., oldest objects first, then remove it, newest first.

        No object is removed before all are copied, so that nothing is lost where this ends half-way: the next fit finds
        what is left, and moves that aside as well. The lock stays with whoever holds it.
        """
        here, system = self.location, self.location.filesystem
        to = next(
            place for place in (RemoteFolder(here.sibling(f".{number}")) for number in count(1)) if not place.exists()
        )
        found = here.attempt(lambda: system.find(here.path, detail=True))
        ours = [path for path in found if path.rpartition("/")[2] != LOCK]
        order = sorted(ours, key=lambda path: (here.attempt(lambda: system.modified(path)), path))
        for path in order:
            target = to.location.path + path.removeprefix(here.path)
            here.attempt(lambda path=path, target=target: system.cp_file(path, target), "copying")  # type: ignore[misc]
        for path in reversed(order):
            self.remove(path.removeprefix(here.path).strip("/"))
        return to

    @contextmanager
    def desk(self) -> Iterator[Desk]:
        """Give a folder of this machine whose files are put here whole, oldest first, each time they have changed."""
        with tempfile.TemporaryDirectory(prefix="dask_em-run-") as path:
            shown: dict[str, tuple[int, int]] = {}

            def publish() -> None:
                for file in sorted(Path(path).iterdir(), key=lambda file: file.stat().st_mtime_ns):
                    now = file.stat().st_mtime_ns, file.stat().st_size
                    if shown.get(file.name) != now:
                        with file.open("rb") as source, self.writing(file.name) as target:
                            shutil.copyfileobj(source, target)
                        shown[file.name] = now

            yield Desk(Path(path), publish)


def _said(words: str) -> str:
    """Return what an owner said of itself; the word that tells it from others is nobody's business."""
    return words.partition("\n")[0] or "which has just begun or ended"
