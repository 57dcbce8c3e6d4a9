"""Whether the chunks of a Zarr array were ever written. A missing one reads as fill value, without an error."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync  # store methods are coroutines of zarr's own loop

from dask_em.errors import DataError

__all__ = ["Written", "chunk_label", "culprit"]

Array = np.ndarray[Any, Any]
Coordinates = tuple[int, ...]
ABSENT = 2**64 - 1  # offset and length of an inner chunk that a shard does not hold
CHECKSUM_BYTES = 4  # crc32c behind a shard's index


def chunk_label(array: zarr.Array[Any], chunk: Coordinates) -> str:
    """Return what people call a chunk: the key of its file, or its place in a shard."""
    if array.shards is None:
        return f"chunk {array.metadata.encode_chunk_key(chunk)}"
    shard, inner = _in_shard(array, chunk)
    return f"chunk {'/'.join(map(str, inner))} of shard {array.metadata.encode_chunk_key(shard)}"


def touched(array: zarr.Array[Any], selection: Sequence[slice]) -> Iterator[tuple[Coordinates, tuple[slice, ...]]]:
    """Yield the (inner) chunks that a selection touches, each with its part of the selection."""
    axes = [
        [
            (index, slice(max(index * size, cut.start) - cut.start, min((index + 1) * size, cut.stop) - cut.start))
            for index in range(cut.start // size, -(-cut.stop // size))
        ]
        for cut, size in zip(selection, array.chunks, strict=True)
    ]
    for parts in itertools.product(*axes):
        yield tuple(index for index, _ in parts), tuple(part for _, part in parts)


def culprit(array: zarr.Array[Any], selection: Sequence[slice]) -> str:
    """Return which chunk of a selection cannot be read, and why: chunk after chunk, once reading it all has failed."""
    for chunk, parts in touched(array, selection):
        try:
            array[tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(selection, parts, strict=True))]
        except Exception as error:  # noqa: BLE001  # codecs and stores raise what they like
            return f"{chunk_label(array, chunk)}: {error}"
    return "it could not be read at first, but could when it was read again"


@dataclass(frozen=True)
class Written:
    """Checks that chunks exist, asking the store only about those that look like fill value.

    A chunk that was left out reads as one value throughout, so a chunk with two different values is there.
    """

    array: zarr.Array[Any]
    known: set[Coordinates] = field(default_factory=set)  # chunks of one value that were found to exist

    def check(self, selection: Sequence[slice], slab: Array, name: str) -> None:
        """Refuse a selection, read as ``slab``, of which a chunk is missing.

        Raises
        ------
        DataError
            Names the chunk, both possible causes and the remedies.
        """
        indices: dict[Coordinates, Array | None] = {}
        for chunk, parts in touched(self.array, selection):
            if chunk in self.known or not _constant(slab[parts]):
                continue
            if not self._exists(chunk, indices):
                raise DataError(
                    f"{chunk_label(self.array, chunk)} of {name} is missing: either it was never written or was lost, "
                    f"or it is all fill value ({self.array.fill_value}) and write_empty_chunks=False left it out. "
                    "Restore it, write the store with write_empty_chunks=True, or, where gaps are meant to be "
                    "fill value, set data.missing_chunks: fill"
                )
            self.known.add(chunk)

    def _exists(self, chunk: Coordinates, indices: dict[Coordinates, Array | None]) -> bool:
        array = self.array
        if array.shards is None:
            return bool(sync((array.store_path / array.metadata.encode_chunk_key(chunk)).exists()))
        shard, inner = _in_shard(array, chunk)
        if shard not in indices:
            indices[shard] = _shard_index(array, shard)
        index = indices[shard]
        return index is not None and bool(index[inner][0] != ABSENT)


def _constant(region: Array) -> bool:
    """Say whether all bits are the same throughout; most regions are told by their first and last element."""
    if not region.size:
        return False
    first, last = region[(0,) * region.ndim], region[(-1,) * region.ndim]
    if first.tobytes() != last.tobytes():
        return False
    bits = np.dtype(f"u{region.dtype.itemsize}")
    return bool(np.all(region.view(bits) == region[(slice(0, 1),) * region.ndim].view(bits)))


def _in_shard(array: zarr.Array[Any], chunk: Coordinates) -> tuple[Coordinates, Coordinates]:
    per_shard = _per_shard(array)
    shard = tuple(index // n for index, n in zip(chunk, per_shard, strict=True))
    return shard, tuple(index % n for index, n in zip(chunk, per_shard, strict=True))


def _per_shard(array: zarr.Array[Any]) -> Coordinates:
    return tuple(shard // chunk for shard, chunk in zip(array.shards or array.chunks, array.chunks, strict=True))


def _shard_index(array: zarr.Array[Any], shard: Coordinates) -> Array | None:
    """Return offset and length of each inner chunk, (*chunks per shard, 2); None where the shard itself is missing."""
    settings: Any = array.metadata.to_dict()["codecs"]
    settings = settings[0]["configuration"]
    codecs = [codec["name"] for codec in settings.get("index_codecs", [])]
    if codecs not in (["bytes"], ["bytes", "crc32c"]):
        raise DataError(
            f"the shards of {array.store_path} keep their index with the codecs {codecs}, in which missing chunks "
            "cannot be looked for; set data.missing_chunks: fill to read without looking"
        )
    per_shard = _per_shard(array)
    entries = 2 * math.prod(per_shard)
    size = 8 * entries + (CHECKSUM_BYTES if "crc32c" in codecs else 0)
    at_start = settings.get("index_location") == "start"
    wanted: ByteRequest = RangeByteRequest(0, size) if at_start else SuffixByteRequest(size)
    path = array.store_path / array.metadata.encode_chunk_key(shard)
    found = sync(path.get(default_buffer_prototype(), wanted))
    if found is None:
        return None
    return np.frombuffer(found.to_bytes(), "<u8", entries).reshape(*per_shard, 2)
