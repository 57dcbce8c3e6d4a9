"""Zarr arrays, of format 2 and 3, local and remote."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import zarr
import zarr.storage

from dask_em.errors import DaskEMError, DataError, InputError, did_you_mean
from dask_em.rows import Rows, Schema
from dask_em.storage.blosc import WholeFrames, stores_blosc
from dask_em.storage.chunks import Written, culprit
from dask_em.storage.columns import require_rows_per_atom
from dask_em.storage.destination import unfinished
from dask_em.storage.location import Location
from dask_em.storage.matrix import Matrix
from dask_em.storage.objects import ObjectPlace, object_place
from dask_em.storage.retrying import Retrying, is_transient
from dask_em.storage.secrets import without_credentials
from dask_em.storage.source import Atom, Source
from dask_em.storage.weighted import Beside

__all__ = ["ZarrSource", "open_zarr", "zarr_store"]

Array = np.ndarray[Any, Any]
READERS = 4  # decoding burns the cores that the kernel wants

# Before the first read: zarr makes its threads only once. What a user has set stands.
if zarr.config.get("threading.max_workers") is None:
    zarr.config.set({"threading.max_workers": READERS})
if zarr.config.get("async.concurrency") == 10:  # the default of zarr
    zarr.config.set({"async.concurrency": READERS})


class ZarrSource:
    """An array of a Zarr store, cut on its shards or chunks.

    Parameters
    ----------
    url_or_store : str, path or zarr.Array
        Where the store is (a folder, a .zip file, a URL), or an array opened from such a place.
    array : str, optional
        The name of the array where the store holds a group.
    columns : sequence of int, optional
        Positions along the feature axis; all by default.
    feature_axis : int, optional
        The axis of the features: the last of two by default. Other axes are flattened to rows in C order.
    storage_options : mapping, optional
        For the remote file system.
    missing_chunks : {"error", "fill"}
        What a chunk that is not in the store means.
    rows_per_atom : int, optional
        At least so many rows make an atom, in whole shards or chunks; in whole inner chunks where a shard has more.
    reader : {"fsspec", "obstore"}
        What reads a URL; ``storage_options`` are those of the one that is named.

    Raises
    ------
    DataError
        There is no such store or array, it is not numeric, or its axes are not clear.
    """

    def __init__(  # noqa: PLR0913  # each argument is a key of the config
        self,
        url_or_store: str | os.PathLike[str] | zarr.Array[Any] | Location | ObjectPlace,
        array: str | None = None,
        *,
        columns: Sequence[int] | None = None,
        feature_axis: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
        missing_chunks: Literal["error", "fill"] = "error",
        rows_per_atom: int | None = None,
        reader: Literal["fsspec", "obstore"] = "fsspec",
    ) -> None:
        require_rows_per_atom(rows_per_atom)
        if missing_chunks not in ("error", "fill"):
            raise InputError(f"missing_chunks is {missing_chunks!r}; give 'error' or 'fill'")
        if reader == "obstore" and isinstance(url_or_store, str | os.PathLike):
            url_or_store, storage_options = object_place(os.fspath(url_or_store), storage_options), None
        elif reader != "fsspec":
            raise InputError(f"reader is {reader!r}; give 'fsspec' or 'obstore', and that of a URL alone")
        self._location, path = _locate(url_or_store, array, storage_options)
        opened = _find(self._location, path)
        self.name: str = f"array {path!r} of {self._location.name}" if path else self._location.name
        self._path, self._digest, self._fill = path or "", _digest(opened), missing_chunks == "fill"
        self._matrix = Matrix.of(opened.shape, opened.dtype, self.name, feature_axis, columns)
        self.schema: Schema = self._matrix.schema
        self._step = _step(opened, self._matrix, rows_per_atom)

    def atoms(self) -> Sequence[Atom]:
        """Return slabs of whole shards or chunks, from metadata alone."""
        try:
            opened = Retrying()(self._open, self.name, "opening").array
        except DaskEMError:
            raise
        except Exception as error:
            raise self._location.unusable("cannot be opened", error) from error
        return [
            Atom(
                (high - low) * self._matrix.inner,
                self._matrix.nbytes(low, high),
                f"{_label(opened, self._matrix.selection(low, high))} of {self.name}",
                (low, high),
            )
            for low, high in self._matrix.cuts(self._step)
        ]

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        """Read (some of) an atom's rows.

        Raises
        ------
        DataError
            A chunk is missing, or the array changed since it was opened.
        OSError
            A chunk cannot be read or decoded; the message names it.
        """
        return Rows.of(self._matrix.read(atom.where[0], atom.rows or 0, rows, self._fetch))

    def weights(self, path: str) -> ZarrSource:
        """Return the source over the weights that another array of the same store holds, (n,)."""
        if not self._path:
            raise DataError(
                f"{self.name} is an array itself, so no array {path!r} with weights is beside it; give the weights as "
                "an array, or write both arrays to one group"
            )
        found = ZarrSource(self._location, path, missing_chunks="fill" if self._fill else "error")
        axes = len(found._matrix.shape)
        if axes > 1:
            raise DataError(f"the weights, {found.name}, have {axes} axes; give one number for each row")
        return found

    def _fetch(self, low: int, high: int) -> Array:
        written, selection = self._open(), self._matrix.selection(low, high)
        try:
            slab: Any = written.array[selection]
        except MemoryError:
            raise
        except Exception as error:
            raise OSError(without_credentials(culprit(written.array, selection))) from error
        if not self._fill:
            written.check(selection, slab, self.name)
        return np.asarray(slab)

    def _open(self) -> Written:
        return _opened(self._location, self._path, self._digest)


def open_zarr(
    url_or_store: str | os.PathLike[str] | zarr.Array[Any], weights: str | None = None, **given: Any
) -> Source:
    """Return the source for an array, with the weights of another array of its store, where one is named."""
    source = ZarrSource(url_or_store, **given)
    return source if weights is None else Beside(source, source.weights(weights))


def zarr_store(location: Location | ObjectPlace, *, read_only: bool) -> Any:
    """Return zarr's view of a folder, a .zip file or a URL."""
    if isinstance(location, ObjectPlace):
        return location.store.with_read_only(read_only)
    if location.local and location.path.endswith(".zip"):
        return zarr.storage.ZipStore(location.path, mode="r")
    if location.local:
        return zarr.storage.LocalStore(location.path, read_only=read_only)
    return zarr.storage.FsspecStore.from_url(location.url, dict(location.options), read_only=read_only)


@lru_cache(maxsize=32)
def _opened(location: Location | ObjectPlace, path: str, digest: str) -> Written:
    """Open an array once in a process. The digest of its metadata keeps a rewritten store from being taken for it."""
    store = zarr_store(location, read_only=True)
    array = zarr.open_array(store=store, path=path, mode="r")
    if stores_blosc(array):
        array = zarr.open_array(store=WholeFrames(store), path=path, mode="r")
    if _digest(array) != digest:
        raise DataError(f"{location.name} changed since it was opened; open it again")
    return Written(array)


def _digest(array: zarr.Array[Any]) -> str:
    told = json.dumps(array.metadata.to_dict(), sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()


def _locate(
    given: Any, path: str | None, options: Mapping[str, Any] | None
) -> tuple[Location | ObjectPlace, str | None]:
    """Return where a store is, and the path of the array in it."""
    if isinstance(given, Location | ObjectPlace):
        return given, path
    if not isinstance(given, zarr.Array):
        return Location.of(given, options), path
    if path is not None or options:
        raise InputError("array and storage_options do not apply to an opened zarr array; leave them out")
    store, inside = given.store, given.path or None
    if isinstance(store, zarr.storage.LocalStore):
        return Location.of(store.root), inside
    if isinstance(store, zarr.storage.ZipStore):
        return Location.of(store.path), inside
    if isinstance(store, zarr.storage.FsspecStore):
        system: Any = getattr(store.fs, "sync_fs", store.fs)
        settings = {key: value for key, value in system.storage_options.items() if key != "asynchronous"}
        return Location.of(system.unstrip_protocol(store.path), settings), inside
    if isinstance(store, zarr.storage.ObjectStore):
        return ObjectPlace(str(store.store), store), inside
    raise InputError(
        f"a zarr array in a {type(store).__name__} cannot be opened elsewhere; "
        "give the path or URL of its store, or its rows as array[:]"
    )


def _find(location: Location | ObjectPlace, path: str | None) -> zarr.Array[Any]:
    if isinstance(location, Location) and location.local:
        location.require()
    try:
        node = zarr.open(store=zarr_store(location, read_only=True), mode="r")
    except Exception as error:
        raise _why_not(location, error) from error
    if isinstance(node, zarr.Array):
        if path is not None:
            raise DataError(f"{location.name} is an array itself, so it holds no array {path!r}; leave array out")
        return node
    names = [name for name, member in node.members(max_depth=None) if isinstance(member, zarr.Array)]
    if path is None:
        held = f"its arrays are: {', '.join(sorted(names))}" if names else "and no array is in it"
        raise DataError(f"{location.name} is a group; say with array which one is meant; {held}")
    if path not in names:
        raise DataError(
            f"{location.name} has no array {path!r}.{did_you_mean(path, names)}"
            f" Its arrays are: {', '.join(sorted(names)) or 'none'}"
        )
    found = node[path]
    if not isinstance(found, zarr.Array):
        raise DataError(f"{path!r} in {location.name} is no array; its arrays are: {', '.join(sorted(names))}")
    return found


def _why_not(location: Location | ObjectPlace, error: Exception) -> DataError:
    """Return why nothing can be opened; a bucket that is missing is told by its own error."""
    if isinstance(location, Location) and not location.local and not is_transient(error):
        location.require_bucket()
        begun = unfinished(location)
        if begun is not None:
            return begun
    return location.unusable("holds no Zarr array or group that can be opened", error)


def _step(array: zarr.Array[Any], matrix: Matrix, rows_per_atom: int | None) -> int:
    chunk, unit = array.chunks[matrix.lead], (array.shards or array.chunks)[matrix.lead]
    if rows_per_atom is None:
        return unit
    return matrix.step(rows_per_atom, unit if rows_per_atom >= unit * matrix.inner else chunk)


def _label(array: zarr.Array[Any], selection: tuple[slice, ...]) -> str:
    """Return the chunks (or shards) that a selection touches, by first and last key."""
    sizes = array.shards or array.chunks
    ends = [
        array.metadata.encode_chunk_key(tuple(place // size for place, size in zip(corner, sizes, strict=True)))
        for corner in ([cut.start for cut in selection], [cut.stop - 1 for cut in selection])
    ]
    kind = "chunk" if array.shards is None else "shard"
    return f"{kind} {ends[0]}" if ends[0] == ends[1] else f"{kind}s {ends[0]} to {ends[1]}"
