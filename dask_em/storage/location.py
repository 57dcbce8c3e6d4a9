"""Where files are: the one door to file systems, local and remote."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from dask_em.errors import DataError, InputError
from dask_em.storage.secrets import HIDDEN, without_credentials

__all__ = ["Location"]


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
        except (ImportError, ValueError) as error:
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
        leaf = self.path.partition("?")[0] if "://" in self.path else self.path
        leaf = leaf.rstrip("/").rpartition("/")[2].lower()
        return ".zarr.zip" if leaf.endswith(".zarr.zip") else os.path.splitext(leaf)[1]  # noqa: PTH122  # may be a URL

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
            return bool(self.filesystem.exists(self.path))
        except Exception as error:
            raise self.unusable("cannot be reached", error) from error

    def unusable(self, why: str, error: BaseException) -> DataError:
        """Return the sentence for what a file system or codec raised: they raise what they like, credentials too."""
        text = without_credentials(" ".join(str(error).split())) or type(error).__name__
        for user in re.findall(r"://([^/?#@]+)@", self.url):
            text = text.replace(user, HIDDEN)
        place = "path" if self.local else "address and the storage_options"
        return DataError(f"{self.name} {why} ({text}); check the {place}")

    def is_folder(self) -> bool:
        """Say whether there is a folder."""
        return bool(self.filesystem.isdir(self.path))

    def require(self) -> Location:
        """Refuse a location where nothing is."""
        if not self.exists():
            self._refuse_silence()
            raise DataError(f"no such file or folder: {self.name}; check the path")
        return self

    def _refuse_silence(self) -> None:
        """Tell what keeps a remote file system from answering: its ``exists`` says no to that, too."""
        if self.local:
            return
        try:
            self.filesystem.info(self.path)
        except Exception as error:
            cause = error.__cause__ if isinstance(error, FileNotFoundError) else error
            if cause is not None and not isinstance(cause, FileNotFoundError) and not _says_absent(cause):
                raise self.unusable("cannot be reached", cause) from error

    def version(self) -> str:
        """Return a text that changes when the file does (by size and time, or as the store tells)."""
        return str(self.filesystem.ukey(self.path))

    def move(self, to: Location) -> None:
        """Rename a file or folder; in one step on a local file system."""
        if self.local:
            os.replace(self.path, to.path)  # noqa: PTH105  # paths are the file system's texts
        else:
            self.filesystem.mv(self.path, to.path, recursive=True)


def _says_absent(error: BaseException) -> bool:
    """Say whether a server answered that there is no such file: ``status`` of aiohttp, ``response`` of botocore."""
    response = getattr(error, "response", None)
    told = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
    return 404 in (getattr(error, "status", None), told)
