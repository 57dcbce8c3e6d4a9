"""Truncated Blosc chunks: the codec trusts their header, and decodes what lies behind them in memory."""

from __future__ import annotations

from typing import Any

import zarr
import zarr.storage
from zarr.abc.store import ByteRequest, Store
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["WholeFrames", "stores_blosc"]

HEADER_BYTES = 16
METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


def stores_blosc(array: zarr.Array[Any]) -> bool:
    """Say whether each file of an array is one Blosc frame (a shard is not, and has a checksum of its own)."""
    last = array.compressors[-1] if array.compressors else None
    return array.shards is None and (isinstance(last, BloscCodec) or getattr(last, "codec_id", "") == "blosc")


class WholeFrames(zarr.storage.WrapperStore[Store]):
    """A store that gives no Blosc frame shorter than its header says. It costs nothing but a look at the header."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Read a file; OSError where it is truncated."""
        found = await self._store.get(key, prototype, byte_range)
        if found is None or byte_range is not None or key.endswith(METADATA):
            return found
        told = int.from_bytes(found[:HEADER_BYTES].to_bytes()[12:], "little")
        if len(found) < max(told, HEADER_BYTES):
            raise OSError(f"{len(found)} bytes are there of {max(told, HEADER_BYTES)}")
        return found
