"""A folder of small files, each written whole or not at all: on a disk of this machine, or at a URL.

``str`` of a folder is what messages call it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any, Protocol

from dask_em.errors import InputError
from dask_em.storage.late import member

__all__ = ["LOCK", "Desk", "Folder", "LocalFolder", "file_at", "folder_at", "who"]

LOCK = "lock"
DESK_SECONDS = 5.0  # between two looks that others get at files that grow


class Desk:
    """Where files that grow are written: a folder of this machine. ``publish`` shows them where they belong."""

    def __init__(self, path: Path, publish: Callable[[], None]) -> None:
        self.path = path
        self._publish = publish
        self._published = time.monotonic()

    def publish(self) -> None:
        """Show what is there now."""
        self._publish()
        self._published = time.monotonic()

    def refresh(self) -> None:
        """Show it, unless that was done a moment ago."""
        if time.monotonic() - self._published >= DESK_SECONDS:
            self.publish()


class Folder(Protocol):
    """What both kinds of folders can do."""

    def child(self, name: str) -> Folder:
        """Return the folder of that name in this one."""
        ...

    def file(self, name: str) -> str:
        """Return what people call a file in it: its path or URL, without credentials."""
        ...

    def exists(self) -> bool:
        """Say whether it is there."""
        ...

    def names(self) -> list[str]:
        """Return the names of what is directly in it, sorted; none where it does not exist."""
        ...

    def modified(self, name: str) -> float | None:
        """Return when a file was last written, in seconds; None where there is none."""
        ...

    def reading(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file; FileNotFoundError where there is none."""
        ...

    def writing(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Give what to write a file to. A reader sees the old file until the block ends, then the new one."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def owned(self) -> AbstractContextManager[Callable[[], None]]:
        """Make the folder and own it, alone; what is given raises where it was lost meanwhile.

        Raises
        ------
        InputError
            Another fit owns it, or it cannot be made.
        """
        ...

    def aside(self) -> Folder:
        """Move it to the first free of NAME.1, NAME.2 .., and return it there."""
        ...

    def desk(self) -> AbstractContextManager[Desk]:
        """Give a place on this machine for its files that grow."""
        ...


def folder_at(place: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> Folder:
    """Return the folder at a path or URL.

    Raises
    ------
    DataError
        What reads such URLs is not installed.
    InputError
        Storage options are given for a local path.
    """
    if "://" in os.fspath(place) or storage_options:
        found: Folder = member("remote_folder", "folder_at_url")(os.fspath(place), storage_options)
        return found
    return LocalFolder(Path(place).expanduser())


def file_at(place: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> tuple[Folder, str]:
    """Return the folder of a file at a path or URL, and the file's name."""
    if "://" in os.fspath(place) or storage_options:
        url, _, name = os.fspath(place).rpartition("/")
        return folder_at(url, storage_options), name
    path = Path(place)
    return LocalFolder(path.parent), path.name


def who() -> str:
    """Return who this process is, for others that find what it holds."""
    return f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"


def token() -> str:
    """Return a word that nobody else has."""
    return secrets.token_hex(6)


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine. Files are written beside their place, brought to the disk, and renamed."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def child(self, name: str) -> LocalFolder:
        """See :class:`Folder`."""
        return LocalFolder(self.path / name)

    def file(self, name: str) -> str:
        """See :class:`Folder`."""
        return str(self.path / name)

    def exists(self) -> bool:
        """See :class:`Folder`."""
        return self.path.is_dir()

    def names(self) -> list[str]:
        """See :class:`Folder`."""
        return sorted(entry.name for entry in self.path.iterdir()) if self.path.is_dir() else []

    def modified(self, name: str) -> float | None:
        """See :class:`Folder`."""
        path = self.path / name
        return path.stat().st_mtime if path.exists() else None

    @contextmanager
    def reading(self, name: str) -> Iterator[IO[bytes]]:
        """See :class:`Folder`."""
        with (self.path / name).open("rb") as file:
            yield file

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """See :class:`Folder`."""
        with tempfile.NamedTemporaryFile(dir=self.path, prefix=f".{name}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(0o644)  # temporary files are made for their owner alone
                temporary.replace(self.path / name)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def remove(self, name: str) -> None:
        """See :class:`Folder`."""
        (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def owned(self) -> Iterator[Callable[[], None]]:
        """Hold the folder's lock, which the system gives back whatever becomes of this process."""
        with self._lock() as file:
            try:
                yield _still_owned
            finally:
                file.truncate(0)

    def _lock(self) -> IO[str]:
        path = self.path / LOCK
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror}; name another folder") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())):
                raise BlockingIOError  # moved away meanwhile, by a fit that begins
        except OSError as error:
            file.seek(0)
            owner = file.read() or "which has just begun"
            file.close()
            if not isinstance(error, BlockingIOError):
                raise InputError(f"{self.path} cannot be locked: {error.strerror}; name another folder") from error
            raise InputError(
                f"another fit is writing to {self.path} ({owner}); wait for its end, or name another folder"
            ) from None
        file.truncate(0)
        file.write(who())
        file.flush()
        return file

    def aside(self) -> LocalFolder:
        """See :class:`Folder`; in one step."""
        places = (self.path.with_name(f"{self.path.name}.{number}") for number in count(1))
        return LocalFolder(self.path.rename(next(place for place in places if not place.exists())))

    @contextmanager
    def desk(self) -> Iterator[Desk]:
        """Give the folder itself."""
        yield Desk(self.path, _nothing)


def _still_owned() -> None:
    """Do nothing: the system keeps a lock for as long as its file is open."""


def _nothing() -> None:
    """Do nothing: what is written to the folder is seen there."""
