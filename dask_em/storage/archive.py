"""Records in files: one zip of arrays that np.load reads, with a header in JSON. Never a pickle."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from dask_em._record import dump, restore
from dask_em.errors import DataError, InternalError
from dask_em.storage.folder import Folder, file_at

__all__ = ["VERSION", "load_record", "read_record", "save_record", "write_record"]

Array = np.ndarray[Any, Any]
FORMAT = "dask_em"
VERSION = 1
HEADER = "header"
OURS = frozenset({"format", "version", "tree"})  # keys of the header that no caller may give
EPOCH = (1980, 1, 1, 0, 0, 0)  # one time for all members: equal records make equal files


def save_record(
    path: str | os.PathLike[str],
    header: dict[str, Any],
    value: Any,
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Write a record to a path or URL, whole or not at all: a reader sees the old file or the new one.

    Parameters
    ----------
    path : str or path
        Or the URL of an object.
    header : dict
        What JSON can hold; given back by :func:`load_record`.
    value : record
        Any record, tuple of records, and so on.
    storage_options : mapping, optional
        For the remote file system.

    Raises
    ------
    DataError
        The file cannot be written.
    """
    write_record(*file_at(path, storage_options), header, value)


def write_record(folder: Folder, name: str, header: dict[str, Any], value: Any) -> None:
    """Write a record to a file of a folder; see :func:`save_record`."""
    tree, arrays = dump(value)
    if OURS & header.keys() or HEADER in arrays:
        raise InternalError(f"a header may not hold {sorted(OURS)}, and no array of a record may be named {HEADER!r}")
    told = json.dumps({"format": FORMAT, "version": VERSION, **header, "tree": tree}, sort_keys=True)
    try:
        with folder.writing(name) as file, _archive(file) as archive:
            for member, array in {HEADER: np.array(told), **arrays}.items():
                _write(archive, member, array)
    except OSError as error:
        raise DataError(
            f"cannot write {folder.file(name)}: {error.strerror or error}; check folder and space"
        ) from error


@contextmanager
def _archive(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
    try:
        yield archive
    except BaseException:
        archive.fp = None  # nobody reads half an archive, and to close it within a member would hide Ctrl-C
        raise
    archive.close()


def _write(archive: zipfile.ZipFile, name: str, array: Array) -> None:
    member = zipfile.ZipInfo(f"{name}.npy", EPOCH)
    member.external_attr = 0o644 << 16
    with archive.open(member, "w", force_zip64=True) as file:
        content = io.BytesIO()
        np.lib.format.write_array(content, array, allow_pickle=False)
        file.write(content.getbuffer())


def load_record(
    path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], Any]:
    """Read what :func:`save_record` wrote.

    Returns
    -------
    header : dict
        As it was given.
    value : record
        With the same bits.

    Raises
    ------
    DataError
        There is no such file, it is none of ours, it is damaged, or a newer dask_em wrote it.
    """
    return read_record(*file_at(path, storage_options))


def read_record(folder: Folder, file_name: str) -> tuple[dict[str, Any], Any]:
    """Read a record from a file of a folder; see :func:`load_record`."""
    name = folder.file(file_name)
    try:
        with folder.reading(file_name) as file, zipfile.ZipFile(file) as archive:
            arrays = {member.removesuffix(".npy"): _read(archive, member) for member in archive.namelist()}
    except FileNotFoundError as error:
        raise DataError(f"no such file: {name}; check the path") from error
    except DataError:
        raise
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        text = f"{name} cannot be read as a file of dask_em ({error}); it may be truncated or another kind of file"
        raise DataError(f"{text}: restore it from a copy") from error
    header = _header(arrays.pop(HEADER, None), name)
    try:
        value = restore(header["tree"], arrays)
    except KeyError as error:
        raise DataError(f"{name} lacks the array {error}; restore it from a copy") from error
    return {key: item for key, item in header.items() if key not in OURS}, value


def _read(archive: zipfile.ZipFile, member: str) -> Array:
    return np.lib.format.read_array(io.BytesIO(archive.read(member)), allow_pickle=False)


def _header(stored: Array | None, name: str) -> dict[str, Any]:
    try:
        header = json.loads(str(stored))
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise DataError(f"{name} is no file of dask_em; give one that dask_em wrote")
    if header["version"] > VERSION:
        raise DataError(
            f"{name} was written by a newer dask_em (format {header['version']}, known are up to {VERSION}); "
            "upgrade dask_em to read it"
        )
    return header
