"""Runs of rows, cut from atoms, read in slabs of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dask_em.errors import DaskEMError, DataError
from dask_em.rows import Rows, Workspace
from dask_em.storage.secrets import without_credentials
from dask_em.storage.source import Atom, Source

__all__ = ["Block", "Layout", "Piece", "read_block"]


@dataclass(frozen=True)
class Piece:
    """The rows ``start:stop`` of an atom."""

    atom: Atom
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        """What reading it decodes, and holds: its whole atom, unless that can be cut."""
        atom = self.atom
        return atom.nbytes * (self.stop - self.start) // (atom.rows or 1) if atom.divisible else atom.nbytes

    def __reduce__(self) -> tuple[Any, ...]:
        """Send no rows that are not the piece's."""
        atom, rows = self.atom, self.atom.where
        if not (atom.divisible and isinstance(rows, np.ndarray)) or self.stop - self.start == atom.rows:
            return Piece, (atom, self.start, self.stop)
        mine = replace(atom, rows=self.stop - self.start, where=rows[self.start : self.stop])
        return Piece, (mine, 0, self.stop - self.start)


@dataclass(frozen=True)
class Block:
    """A contiguous run of rows: what one task reads."""

    index: int
    first: int  # the number of its first row in the data
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """How many rows."""
        return sum(piece.stop - piece.start for piece in self.pieces)


@dataclass(frozen=True)
class Layout:
    """A source cut into blocks; everything that decides the order of its sums."""

    source: Source
    blocks: tuple[Block, ...]
    slab_rows: int  # rows that a kernel is given at once
    tile_rows: int = 1024  # rows of one matrix product; slabs are whole numbers of tiles

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(block.rows for block in self.blocks)

    @property
    def nbytes(self) -> int:
        """Bytes that one pass decodes: an atom cut over several blocks is decoded for each."""
        return sum(piece.nbytes for block in self.blocks for piece in block.pieces)


def read_block(source: Source, block: Block, slab_rows: int, workspace: Workspace | None = None) -> Iterator[Rows]:
    """Yield a block's rows in slabs of exactly ``slab_rows`` (the last may be shorter), wherever its atoms end.

    At most one atom and one slab are held at a time.

    Raises
    ------
    DataError
        An atom cannot be read, or has not the rows that were planned; the message names the atom, block and rows.
    """
    workspace = workspace or Workspace()
    waiting: list[Rows] = []
    held, first = 0, block.first
    for piece in block.pieces:
        rows = _load(source, block, piece)
        at = 0
        while at < len(rows):
            part = rows[at : at + slab_rows - held]
            waiting.append(part)
            held, at = held + len(part), at + len(part)
            if held == slab_rows:
                yield Rows.join(waiting).at(first, workspace)
                waiting, held, first = [], 0, first + held
    if waiting:
        yield Rows.join(waiting).at(first, workspace)


def _load(source: Source, block: Block, piece: Piece) -> Rows:
    where = f"{piece.atom.place} (block {block.index}, rows {piece.start} to {piece.stop - 1} of it)"
    try:
        rows = source.load(piece.atom, slice(piece.start, piece.stop))
    except (DaskEMError, MemoryError):
        raise
    except Exception as error:
        text = without_credentials(" ".join(str(error).split())) or type(error).__name__
        raise DataError(
            f"cannot read {where}: {text}. The file may be truncated or damaged; write it anew or restore it"
        ) from error
    if len(rows) != piece.stop - piece.start:
        raise DataError(
            f"{where} holds {len(rows)} rows where {piece.stop - piece.start} were planned; "
            "the data changed since it was opened: open it again"
        )
    return rows
