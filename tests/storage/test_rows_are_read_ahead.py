from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pytest

from dask_em.errors import DataError
from dask_em.reduction import Serial, total_of_blocks
from dask_em.rows import Rows, Schema
from dask_em.storage import retrying
from dask_em.storage.blocks import AHEAD, Block, Layout, Piece, Reader
from dask_em.storage.source import Atom

ATOMS, ROWS = 8, 10  # an atom is a slab


@dataclass
class Columns:
    """Rows with weights and a further column, whose last atoms cannot be read."""

    failing: Callable[[], Exception] | None = None
    weighted: bool = True
    begun: list[int] = field(default_factory=list)
    schema: Schema = Schema(2, np.dtype(np.float32))  # noqa: RUF009  # frozen
    name: str = "columns"

    def atoms(self) -> list[Atom]:
        return [Atom(ROWS, ROWS * 8, f"part {i}", i) for i in range(ATOMS)]

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        self.begun.append(atom.where)
        if self.failing and atom.where >= 3:
            raise self.failing()
        number = np.arange(ROWS * atom.where, ROWS * (atom.where + 1))
        values = np.stack([number, -number], 1).astype(np.float32)
        weight = number / 7 if self.weighted else None
        return Rows.of(values, weight, {"exposure": number * 2})[rows]


def whole(source: Columns) -> Block:
    return Block(5, 0, tuple(Piece(atom, 0, ROWS) for atom in source.atoms()))


def reading() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dask_em-read")]


def settled(begun: list[int], wanted: int) -> int:
    """Return how many loads were begun, once so many were, and whoever wants to begin more has had the time to."""
    while len(begun) < wanted:
        time.sleep(0.001)
    time.sleep(0.02)
    return len(begun)


def test_a_thread_reads_two_slabs_ahead_and_no_more() -> None:
    source = Columns()
    for taken, _ in enumerate(Reader(source, ROWS).slabs(whole(source)), 1):
        ahead = min(taken + AHEAD, ATOMS)
        assert settled(source.begun, ahead) == ahead
    assert source.begun == list(range(ATOMS))
    assert not reading()


def test_blocks_that_share_a_task_are_read_ahead_across_their_ends_and_past_those_in_memory() -> None:
    source = Columns()
    atoms = source.atoms()
    blocks = [
        Block(i, 2 * ROWS * i, (Piece(atoms[2 * i], 0, ROWS), Piece(atoms[2 * i + 1], 0, ROWS))) for i in range(4)
    ]
    blocks[1] = Reader(source, ROWS).keep(blocks[1])
    source.begun.clear()
    seen, taken = [], 0
    for block, slabs in Reader(source, ROWS).blocks(blocks):
        for rows in slabs:
            seen.append((block.index, rows.first, float(rows.values[0, 0])))
            taken += block.index != 1
            ahead = min(taken + AHEAD + (block.index == 1), 6)  # the next block's first slab waits beside them
            assert settled(source.begun, ahead) == ahead
    assert seen == [(i // 2, 10 * i, 10.0 * i) for i in range(ATOMS)]
    assert source.begun == [0, 1, 4, 5, 6, 7]
    assert not reading()


def test_what_is_in_memory_is_read_without_a_thread() -> None:
    source = Columns()
    kept = Reader(source, ROWS).keep(whole(source))
    for _ in Reader(source, ROWS).slabs(kept):
        assert not reading()


@pytest.mark.parametrize("error", [lambda: ValueError("bad magic"), lambda: DataError("it has no rows; write it")])
def test_its_errors_arrive_as_they_are(error: Callable[[], Exception]) -> None:
    source = Columns(error)
    reader = Reader(source, ROWS)
    with pytest.raises(DataError) as plain:
        list(reader._joined(whole(source)))
    slabs = reader.slabs(whole(source))
    assert [rows.first for rows in islice(slabs, 3)] == [0, 10, 20]
    with pytest.raises(DataError) as ahead:
        next(slabs)
    assert str(ahead.value) == str(plain.value)
    assert "part 3 (block 5, rows 0 to 9 of it)" in str(ahead.value)
    assert not reading()


def test_it_ends_where_the_consumer_stops() -> None:
    source = Columns()
    slabs = Reader(source, ROWS).slabs(whole(source))
    next(slabs)
    assert reading()
    slabs.close()
    assert not reading()
    assert len(source.begun) <= 1 + AHEAD


def test_it_ends_where_the_consumer_fails() -> None:
    source = Columns()

    def failing(rows: Rows) -> Any:
        raise DataError("row 0 is not finite")

    with pytest.raises(DataError, match="row 0") as raised:  # the traceback keeps all frames alive
        total_of_blocks(failing, Reader(source, ROWS), [whole(source)])
    assert not reading(), raised
    with pytest.raises(DataError, match="row 0"):
        Serial(Layout(source, (whole(source),), ROWS)).total(failing)
    assert not reading()


def test_it_ends_in_the_middle_of_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    paused = threading.Event()
    monkeypatch.setattr(retrying, "PAUSE", 1e6)
    monkeypatch.setattr(retrying, "PAUSE_MOST", 1e6)
    monkeypatch.setattr(retrying.Retrying, "_note", lambda *_: paused.set())
    source = Columns(TimeoutError)
    slabs = Reader(source, ROWS).slabs(whole(source))
    next(slabs)
    next(slabs)
    assert paused.wait(10)
    slabs.close()
    assert not reading()


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("slab_rows", [7, ROWS, 1000])
def test_a_block_that_is_kept_has_the_same_slabs(weighted: bool, slab_rows: int) -> None:
    source = Columns(weighted=weighted)
    block = Block(5, 30, tuple(Piece(atom, 1, ROWS) for atom in source.atoms()))
    reader = Reader(source, slab_rows)
    kept = reader.keep(block)
    assert (kept.index, kept.first, kept.rows, kept.in_memory) == (5, 30, block.rows, True)
    begun = len(source.begun)
    for now, before in zip(reader.slabs(kept), list(reader.slabs(block)), strict=True):
        assert now.values.tobytes() == before.values.tobytes()
        assert now.weight.tobytes() == before.weight.tobytes()
        assert now.extra["exposure"].tolist() == before.extra["exposure"].tolist()
        assert (now.first, now.values.dtype) == (before.first, before.values.dtype)
    assert len(source.begun) == begun + ATOMS  # of the block that is not kept


def test_rows_of_another_namespace_stay_where_they_are() -> None:
    xp = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")

    class Strict(Columns):
        def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
            return Rows.of(xp.asarray(super().load(atom, rows).values))

    source = Strict()
    assert Reader(source, ROWS).keep(whole(source)) == whole(source)
