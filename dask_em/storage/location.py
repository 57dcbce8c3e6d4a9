"""Where files are: the one door to file systems, local and remote."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from dask_em.errors import DaskEMError, DataError, InputError, to_install
from dask_em.storage.retrying import Retrying, is_transient
from dask_em.storage.secrets import secrets_of, without_credentials, without_words

__all__ = ["Location", "suffix_of"]

V = TypeVar("V")
_EXTRAS = {  # protocol: what reads it, and the extra that brings that
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "s3")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gcs")),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), ("adlfs", "azure")),
}
_PAST = {"reading": "read", "writing": "written", "locking": "locked", "copying": "copied", "removing": "removed"}


@dataclass(frozen=True)
class Location:
    """A path on a file system. Picklable; equal where path and file system are, options included.

    File systems are equal when they were made with the same options, so the options need no comparison of their own.
    """

    path: str  # as the file system wants it; absolute
    filesystem: Any = field(repr=False)
    name: str = field(compare=False)  # as the user gave it, without credentials
    url: str = field(compare=False, repr=False)
    options: Mapping[str, Any] = field(compare=False, repr=False)

    @staticmethod
    def of(url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> Location:
        """Find the file system that a path or URL speaks of.

        Raises
        ------
        DataError
            No file system of that name is installed.
        InputError
            The path is empty, or storage options are given for a local one.
        """
        text, options = os.fspath(url), dict(storage_options or {})
        if not text.strip():
            raise InputError("the path is empty; give a path or URL")
        name = without_credentials(text)
        try:
            filesystem, path = fsspec.core.url_to_fs(text, **options)
        except ImportError as error:
            raise DataError(f"cannot open {name}: {_to_install(text, error)}") from error
        except ValueError as error:
            raise DataError(f"cannot open {name}: {error}") from error
        if isinstance(filesystem, LocalFileSystem) and options:
            raise InputError(f"storage_options do not apply to the local path {name}; leave them out")
        return Location(path.rstrip("/") or "/", filesystem, name, text, options)

    @property
    def local(self) -> bool:
        """Whether it is on a file system of this machine."""
        return isinstance(self.filesystem, LocalFileSystem)

    @property
    def suffix(self) -> str:
        """What the name ends with, in small letters: ".npy"; ".zarr.zip" counts as one."""
        return suffix_of(self.path)

    def child(self, *parts: str) -> Location:
        """Return a location below this one."""
        below = "/".join(parts)
        path, name, url = (f"{text.rstrip('/')}/{below}" for text in (self.path, self.name, self.url))
        return Location(path, self.filesystem, name, url, self.options)

    def sibling(self, ending: str) -> Location:
        """Return the location beside this one whose name ends with ``ending`` more."""
        path, name, url = (text.rstrip("/") + ending for text in (self.path, self.name, self.url))
        return Location(path, self.filesystem, name, url, self.options)

    def exists(self) -> bool:
        """Say whether there is a file or folder.

        Raises
        ------
        DataError
            The file system cannot be asked.
        """
        try:
            self.filesystem.invalidate_cache()
            return Retrying()(lambda: bool(self.filesystem.exists(self.path)), self.name)
        except Exception as error:
            raise self.unusable("cannot be reached", error) from error

    def unusable(self, why: str, error: BaseException) -> DataError:
        """Return the sentence for what a file system or codec raised: they raise what they like, credentials too."""
        text = without_credentials(" ".join(str(error).split())) or type(error).__name__
        text = without_words(text, (*re.findall(r"://([^/?#@]+)@", self.url), *secrets_of(self.options)))
        if is_transient(error):
            return DataError(
                f"{self.name} cannot be reached ({text}); look whether the storage is there, and begin again"
            )
        place = "path" if self.local else "address and the storage_options, or the credentials of the environment"
        return DataError(f"{self.name} {why} ({text}); check the {place}")

    def attempt(self, act: Callable[[], V], doing: str = "reading") -> V:
        """Return what ``act`` gives, which asks the file system about this place; again where it fails for a moment.

        Raises
        ------
        DataError
            It fails for good, or too often.
        FileExistsError, FileNotFoundError
            The file system says so; the latter only where something was to be read or removed.
        """
        absent = FileNotFoundError if doing in ("reading", "removing") else FileExistsError
        try:
            return Retrying()(act, self.name, doing)
        except (DaskEMError, FileExistsError, absent):
            raise
        except Exception as error:
            raise self.unusable(f"cannot be {_PAST[doing]}", error) from error

    def upload(self, path: str) -> None:
        """Put a file of this machine here: whole, and again where that fails for a moment."""
        self.attempt(lambda: self.filesystem.put_file(path, self.path), "writing")

    def is_folder(self) -> bool:
        """Say whether there is a folder."""
        return bool(self.filesystem.isdir(self.path))

    def require(self) -> Location:
        """Refuse a location where nothing is."""
        if not self.exists():
            self._refuse_silence()
            raise DataError(f"no such file or folder: {self.name}; check the path")
        return self

    def require_bucket(self) -> None:
        """Tell of a store that there is nothing in which it could be, where it says that."""
        try:
            self.filesystem.ls(self.path)
        except Exception as error:
            if _says_no_bucket(error):
                raise self.unusable("cannot be reached", error) from error

    def _refuse_silence(self) -> None:
        """Tell what keeps a remote file system from answering: its ``exists`` says no to that, too."""
        if self.local:
            return
        try:
            self.filesystem.info(self.path)
        except Exception as error:
            cause = error.__cause__ if isinstance(error, FileNotFoundError) else error
            absent = cause is None or isinstance(cause, FileNotFoundError) or _says_absent(cause)
            if not absent or _says_no_bucket(error):
                raise self.unusable("cannot be reached", cause or error) from error

    def version(self) -> str:
        """Return a text that changes when the file does (by size and time, or as the store tells)."""
        return str(self.filesystem.ukey(self.path))


def suffix_of(path: str) -> str:
    """Return what the name of a path or URL ends with; see :attr:`Location.suffix`."""
    leaf = path.partition("?")[0] if "://" in path else path
    leaf = leaf.rstrip("/").rpartition("/")[2].lower()
    return ".zarr.zip" if leaf.endswith(".zarr.zip") else os.path.splitext(leaf)[1]  # noqa: PTH122  # may be a URL


def _says_absent(error: BaseException) -> bool:
    """Say whether a server answered that there is no such file: ``status`` of aiohttp, ``response`` of botocore."""
    response = getattr(error, "response", None)
    told = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
    return 404 in (getattr(error, "status", None), told)


def _says_no_bucket(error: BaseException) -> bool:
    """Say whether a store answered that the bucket or container itself is missing."""
    return any(
        "bucket does not exist" in str(each) or "ContainerNotFound" in str(each) for each in (error, error.__cause__)
    )


def _to_install(url: str, error: ImportError) -> str:
    """Return which extra brings what reads a URL."""
    protocol = url.rpartition("::")[2].partition("://")[0]
    if protocol not in _EXTRAS:
        return str(error)
    package, extra = _EXTRAS[protocol]
    return f"{protocol}:// is read by {package}, which is not installed: {to_install(f'dask-em[{extra}]')}"
