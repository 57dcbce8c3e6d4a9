"""A place for results that many write to at once, and that readers find whole or not at all.

On a disk of this machine results are gathered in a folder beside their place, which is renamed when all are there.

An object store cannot rename. There the results are gathered in their place, which one writer claims by an object
(:data:`CLAIM`) that tells who it is. A Zarr array is no array before its ``zarr.json`` is there, which comes last.
Parquet files are hidden (their names begin with ``_``) until all are there; they are then copied to their names within
the store, which takes moments in which other programs may see some of them. dask_em refuses to read a folder with a
claim in it. A writer that was killed leaves its claim and what it wrote, and nobody takes that for complete results.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from dask_em.errors import DataError, InternalError
from dask_em.statistics import Manifest
from dask_em.storage.folder import token, who
from dask_em.storage.location import Location

__all__ = [
    "ARRAY",
    "CLAIM",
    "Destination",
    "LocalDestination",
    "RemoteDestination",
    "destination_at",
    "require_all",
    "unfinished",
]

CLAIM = "_writing"
ARRAY = "zarr.json"  # what makes an array of its chunks
HIDDEN = "_"  # before the name of a file that is not to be read yet


def destination_at(url: Any, storage_options: Mapping[str, Any] | None = None) -> Destination:
    """Return the place for results at a path or URL; nothing is touched yet."""
    final = Location.of(url, storage_options)
    if final.local:
        return LocalDestination(final, final.sibling(f".partial-{token()}"))
    return RemoteDestination(final, f"{who()}\n{token()}")


class Destination(Protocol):
    """Where a sink writes. Picklable; workers write, the driver begins and ends."""

    @property
    def final(self) -> Location:
        """Where the results will be."""
        ...

    @property
    def place(self) -> Location:
        """Where data is gathered; what is below it is seen when the results are."""
        ...

    def begin(self) -> None:
        """Make room; DataError where something is at the destination, or somebody writes to it."""
        ...

    def file(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Give what to write a file to, which is shown under its name with all the others; it may be written again."""
        ...

    def written(self, names: Sequence[str]) -> None:
        """Take the files back that a block has just written, if the write was given up meanwhile."""
        ...

    def commit(self, manifest: Manifest, rows: int, last: Mapping[str, bytes]) -> None:
        """Show the results, with the files ``last`` after all others; without files of attempts that died.

        Raises
        ------
        InternalError
            Rows are missing.
        DataError
            Somebody else has made the destination meanwhile.
        """
        ...

    def abandon(self) -> None:
        """Remove what was written, as far as can be: an error is on its way that matters more."""
        ...


@dataclass(frozen=True)
class LocalDestination:
    """A place on a disk of this machine."""

    final: Location
    place: Location  # beside it

    def begin(self) -> None:
        """See :class:`Destination`."""
        _require_free(self.final)
        Path(self.place.path).mkdir(parents=True)
        self._claim.touch()

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        """See :class:`Destination`."""
        temporary = Path(self.place.child(f"{HIDDEN}{token()}-{name}").path)
        with temporary.open("wb") as file:
            yield file
        temporary.replace(self.place.child(name).path)

    def written(self, names: Sequence[str]) -> None:
        """See :class:`Destination`."""
        if not self._claim.exists():
            self.abandon()

    def commit(self, manifest: Manifest, rows: int, last: Mapping[str, bytes]) -> None:
        """See :class:`Destination`; in one step."""
        require_all(manifest, rows, self.final.name)
        _require_free(self.final)
        folder = Path(self.place.path)
        for name, content in last.items():
            (folder / name).write_bytes(content)
        shown = {*manifest.parts, *last}
        for path in folder.iterdir():
            if path.is_file() and path.name not in shown:
                path.unlink()
        folder.rename(self.final.path)

    def abandon(self) -> None:
        """See :class:`Destination`."""
        with contextlib.suppress(Exception):
            if self.place.exists():
                self.place.filesystem.rm(self.place.path, recursive=True)

    @property
    def _claim(self) -> Path:
        return Path(self.place.child(CLAIM).path)


@dataclass(frozen=True)
class RemoteDestination:
    """A place at a URL, which one writer claims. Every request may be made twice."""

    final: Location
    words: str  # of the claim

    @property
    def place(self) -> Location:
        """See :class:`Destination`."""
        return self.final

    def begin(self) -> None:
        """See :class:`Destination`."""
        taken = unfinished(self.final)
        if taken is not None:
            raise taken
        _require_free(self.final)
        claim = self.final.child(CLAIM)
        try:
            claim.attempt(lambda: claim.filesystem.pipe_file(claim.path, self.words.encode(), mode="create"), "writing")
        except FileExistsError:
            if _claimed(self.final) != self.words:  # else an answer was lost, and the second try met our own
                raise unfinished(self.final) or _exists(self.final) from None

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        """See :class:`Destination`."""
        with tempfile.NamedTemporaryFile(prefix="dask_em-") as file:
            yield file
            file.flush()
            self.final.child(f"{HIDDEN}{name}").upload(file.name)

    def written(self, names: Sequence[str]) -> None:
        """See :class:`Destination`."""
        if _claimed(self.final) != self.words and not self.final.child(ARRAY).exists():
            self._remove([self.final.child(name).path for name in names])

    def commit(self, manifest: Manifest, rows: int, last: Mapping[str, bytes]) -> None:
        """See :class:`Destination`; the module's text tells what others see meanwhile."""
        require_all(manifest, rows, self.final.name)
        if _claimed(self.final) != self.words:
            raise unfinished(self.final) or DataError(
                f"{self.final.name} was removed while it was written; write it again"
            )
        names = dict.fromkeys(manifest.parts)
        hidden, shown = ([self.final.child(f"{mark}{name}").path for name in names] for mark in (HIDDEN, ""))
        system = self.final.filesystem
        if hidden:
            self.final.attempt(lambda: system.copy(hidden, shown, on_error="raise"), "copying")
        for name, content in last.items():
            place = self.final.child(name)
            place.attempt(lambda p=place, c=content: system.pipe_file(p.path, c), "writing")  # type: ignore[misc]
        self._remove([path for path in self._found() if path.rpartition("/")[2].startswith(HIDDEN)])
        self._remove([self.final.child(CLAIM).path])

    def abandon(self) -> None:
        """See :class:`Destination`."""
        with contextlib.suppress(Exception):
            if _claimed(self.final) == self.words:
                self._remove(self._found())
                self.final.filesystem.rm(self.final.path, recursive=True)  # the claim, and folders where there are any

    def _found(self) -> list[str]:
        """Return all that was written, but for the claim."""
        self.final.filesystem.invalidate_cache()
        found = self.final.attempt(lambda: self.final.filesystem.find(self.final.path))
        return [path for path in found if path.rpartition("/")[2] != CLAIM]

    def _remove(self, paths: list[str]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                self.final.attempt(lambda path=path: self.final.filesystem.rm_file(path), "removing")  # type: ignore[misc]


def require_all(manifest: Manifest, rows: int, name: str) -> None:
    """Refuse to call results complete that are not."""
    if manifest.rows != rows:
        raise InternalError(f"{manifest.rows} of {rows} rows were written to {name}; nothing was put in place")


def unfinished(location: Location) -> DataError | None:
    """Return what is to say of a place that somebody writes to, or died while writing to; None: nobody does."""
    words = None if location.local else _claimed(location)
    if words is None:
        return None
    writer, _, _ = words.partition("\n")
    return DataError(
        f"{location.name} is being written ({writer}); wait for its end. If its writer died, remove it, and write anew"
    )


def _claimed(location: Location) -> str | None:
    claim = location.child(CLAIM)
    try:
        return str(claim.attempt(lambda: claim.filesystem.cat_file(claim.path)).decode(errors="replace"))
    except FileNotFoundError:
        return None


def _require_free(final: Location) -> None:
    if final.exists():
        raise _exists(final)


def _exists(final: Location) -> DataError:
    return DataError(f"{final.name} exists already; remove it, or choose another name for the results")
