"""The rows of a few blocks of which each of a few workers keeps a copy: whoever is done first computes with them.

Other rows lie on one worker, which computes with them. Workers are not equally fast, and change from pass to pass: what
is left to do at the end of a pass has to be where there is somebody to do it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Lock
from weakref import WeakKeyDictionary, WeakValueDictionary

from dask_em.storage.blocks import Block, Reader

__all__ = ["Anchor", "Copies", "copies"]


class Anchor:
    """Rows that Dask holds in this process: copies live as long as some of their run do."""


class Copies:
    """The blocks of a run of which this process keeps a copy."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}
        self._changing = Lock()

    def only(self, indices: Iterable[int]) -> None:
        """Give back all others."""
        with self._changing:
            for gone in set(self._blocks).difference(indices):
                del self._blocks[gone]

    def of(self, blocks: Sequence[Block], reader: Reader) -> list[Block]:
        """Return blocks with their rows in memory, read where they are not yet."""
        with self._changing:
            missing = [block for block in blocks if block.index not in self._blocks]
            self._blocks.update({block.index: reader.keep(block) for block in missing})
            return [self._blocks[block.index] for block in blocks]


_ANCHORS: WeakValueDictionary[str, Anchor] = WeakValueDictionary()  # by run
_COPIES: WeakKeyDictionary[Anchor, Copies] = WeakKeyDictionary()
_FINDING = Lock()  # two threads would hang their copies on two anchors


def copies(run: str, rows: Anchor | None) -> Copies | None:
    """Return the copies of a run where Dask holds any rows of it in this process, these among them; else None."""
    with _FINDING:
        anchor = _ANCHORS.get(run) if rows is None else _ANCHORS.setdefault(run, rows)
        return None if anchor is None else _COPIES.setdefault(anchor, Copies())
