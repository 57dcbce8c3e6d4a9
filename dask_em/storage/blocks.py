"""Runs of rows, cut from atoms, read in slabs of bounded size."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

import numpy as np

from dask_em.errors import DaskEMError, DataError
from dask_em.rows import Rows, Workspace
from dask_em.storage.retrying import TRIES, Retrying, is_transient, told
from dask_em.storage.source import Atom, Source

__all__ = ["AHEAD", "Block", "Layout", "Piece", "Reader", "pieces_of"]

Array = np.ndarray[Any, Any]
AHEAD = 2  # slabs that are read while one is computed with


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
        mine = None if self.stop - self.start == self.atom.rows else _alone(self.atom, self.start, self.stop)
        return Piece, (self.atom, self.start, self.stop) if mine is None else (mine, 0, mine.rows)


def pieces_of(atoms: Sequence[Atom], ends: Sequence[int], start: int, stop: int) -> Iterator[Piece]:
    """Yield the pieces that the rows ``start:stop`` of the data lie in; ``ends`` are 0 and where each atom ends."""
    at = bisect_left(ends, start + 1) - 1
    while at < len(atoms) and ends[at] < stop:
        first, last = max(start, ends[at]), min(stop, ends[at + 1])
        if first < last:
            yield Piece(atoms[at], first - ends[at], last - ends[at])
        at += 1


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

    @property
    def in_memory(self) -> bool:
        """Whether nothing has to be decoded to read it."""
        return all(_in_memory(piece.atom) for piece in self.pieces)


@dataclass(frozen=True)
class Layout:
    """A source cut into blocks; everything that decides the order of its sums."""

    source: Source
    blocks: tuple[Block, ...]
    slab_rows: int  # rows that a kernel is given at once
    tile_rows: int = 1024  # rows of one matrix product; slabs are whole numbers of tiles
    working: float = 0.0  # bytes that a thread takes in a pass, beside rows that stay in memory

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(block.rows for block in self.blocks)

    @property
    def row_nbytes(self) -> int:
        """Bytes of a row and its weight in memory."""
        return self.source.schema.features * self.source.schema.dtype.itemsize + 8

    @property
    def nbytes(self) -> int:
        """Bytes that one pass decodes: an atom cut over several blocks is decoded for each."""
        return sum(piece.nbytes for block in self.blocks for piece in block.pieces)


@dataclass(frozen=True)
class _Kept:
    """A block's rows as they were read: what ``Atom.where`` holds where they stay in memory between passes."""

    values: Array  # (n, d)
    weight: Array | None  # (n,); None: all weigh 1
    extra: Mapping[str, Array]

    def rows(self, start: int, stop: int) -> Rows:
        extra = {name: column[start:stop] for name, column in self.extra.items()}
        return Rows.of(self.values[start:stop], None if self.weight is None else self.weight[start:stop], extra)


@dataclass
class Reader:
    """Reads blocks of a source for one thread that computes with them."""

    source: Source
    slab_rows: int
    workspace: Workspace = field(default_factory=Workspace)
    retrying: Retrying = field(default_factory=Retrying)

    def slabs(self, block: Block) -> Generator[Rows]:
        """Yield a block's rows in slabs of exactly ``slab_rows`` (the last may be shorter), wherever its atoms end.

        What has to be decoded is read by a thread of its own, up to :data:`AHEAD` slabs before it is asked for.

        Raises
        ------
        DataError
            An atom cannot be read, or has not the rows that were planned; the message names the atom, block and rows.
        """
        with closing(self.blocks([block])) as each:
            for _, slabs in each:
                yield from slabs

    def blocks(self, blocks: Sequence[Block]) -> Generator[tuple[Block, Iterator[Rows]]]:
        """Yield blocks, each with its :meth:`slabs`, all to be taken before the next: that is read ahead meanwhile."""
        self.retrying.stopped.clear()
        with closing(self._ahead([block for block in blocks if not block.in_memory])) as reading:
            read = groupby(reading, itemgetter(0))
            for block in blocks:
                slabs = self._joined(block) if block.in_memory else (rows for _, rows in next(read)[1])
                yield block, self._placed(slabs, block.first)

    def _placed(self, slabs: Iterator[Rows], first: int) -> Iterator[Rows]:
        for rows in slabs:
            yield rows.at(first, self.workspace)
            first += len(rows)

    def keep(self, block: Block) -> Block:
        """Return the block with its rows in memory: read once, and cut into the same slabs ever after."""
        at, n, weight = 0, block.rows, None
        with closing(self.slabs(block)) as slabs:
            first = next(slabs)
            in_numpy = isinstance(first.values, np.ndarray)
            if not in_numpy:
                return block  # another namespace keeps its rows where it likes
            values = np.empty((n, first.values.shape[1]), first.values.dtype)
            extra = {name: np.empty(n, column.dtype) for name, column in first.extra.items()}
            for rows in chain([first], slabs):
                to = slice(at, at + len(rows))
                values[to] = rows.values
                if weight is None and not (rows.weight == 1.0).all():
                    weight = np.ones(n)
                if weight is not None:
                    weight[to] = rows.weight
                for name, column in rows.extra.items():
                    extra[name][to] = column
                at = to.stop
        kept = _Kept(values, weight, extra)
        nbytes = sum(array.nbytes for array in (kept.values, weight, *extra.values()) if array is not None)
        atom = Atom(n, nbytes, f"block {block.index} of {self.source.name}", kept, divisible=True)
        return Block(block.index, block.first, (Piece(atom, 0, n),))

    def _ahead(self, blocks: Sequence[Block]) -> Generator[tuple[int, Rows]]:
        """Yield blocks' indices and slabs, which a thread reads ahead; it has ended when this generator has."""
        slabs = ((block.index, rows) for block in blocks for rows in self._joined(block))
        thread = ThreadPoolExecutor(1, "dask_em-read")
        try:
            coming = deque(thread.submit(next, slabs, None) for _ in range(AHEAD))
            while (found := coming.popleft().result()) is not None:
                coming.append(thread.submit(next, slabs, None))
                yield found
        finally:
            self.retrying.stopped.set()
            thread.shutdown(wait=True, cancel_futures=True)

    def _joined(self, block: Block) -> Generator[Rows]:
        """Yield slabs; at most one atom and one slab are held at a time."""
        waiting: list[Rows] = []
        held = 0
        for piece in block.pieces:
            rows = self._load(block, piece)
            at = 0
            while at < len(rows):
                part = rows[at : at + self.slab_rows - held]
                waiting.append(part)
                held, at = held + len(part), at + len(part)
                if held == self.slab_rows:
                    yield Rows.join(waiting)
                    waiting, held = [], 0
        if waiting:
            yield Rows.join(waiting)

    def _load(self, block: Block, piece: Piece) -> Rows:
        atom = piece.atom
        if isinstance(atom.where, _Kept):
            return atom.where.rows(piece.start, piece.stop)
        where = f"{atom.place} (block {block.index}, rows {piece.start} to {piece.stop - 1} of it)"
        try:
            rows = self.retrying(lambda: self.source.load(atom, slice(piece.start, piece.stop)), where)
        except DataError as error:
            raise _unreadable(error, where) from error
        except (DaskEMError, MemoryError):
            raise
        except Exception as error:
            raise _unreadable(error, where) from error
        if len(rows) != piece.stop - piece.start:
            raise DataError(
                f"{where} holds {len(rows)} rows where {piece.stop - piece.start} were planned; "
                "the data changed since it was opened: open it again"
            )
        return rows


def _alone(atom: Atom, start: int, stop: int) -> Atom | None:
    """Return the atom of some rows alone, where it carries them, itself or in one that has weights beside it."""
    where = atom.where
    if atom.divisible and isinstance(where, np.ndarray):
        return replace(atom, rows=stop - start, where=where[start:stop])
    if atom.divisible and type(where) is tuple and [isinstance(part, Atom) for part in where] == [True, False]:
        inner = _alone(where[0], start, stop)
        if inner is not None and isinstance(where[1], np.ndarray):
            return replace(atom, rows=stop - start, where=(inner, where[1][start:stop]))
    return None


def _in_memory(atom: Atom) -> bool:
    """Say whether an atom, or the one that it wraps, carries its rows as they are."""
    where = atom.where
    if atom.divisible or type(where) is tuple:
        return atom.divisible or any(isinstance(part, Atom) and _in_memory(part) for part in where)
    return isinstance(where, np.ndarray) and where.nbytes >= atom.nbytes


def _unreadable(error: Exception, where: str) -> DataError:
    if is_transient(error):
        return DataError(
            f"cannot read {where}: {told(error)}. It was tried {TRIES} times: look whether the storage is there, and "
            "begin again, from a checkpoint if there is one"
        )
    if isinstance(error, DataError):
        return DataError(f"{error}; it was met in {where}")
    return DataError(
        f"cannot read {where}: {told(error)}. The file may be truncated or damaged; write it anew or restore it"
    )
