"""What runs on the workers, and what is sent to them: nothing here knows of clients or clusters."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle  # type: ignore[import-untyped]  # ships without types
import dask
from dask.base import normalize_token
from dask.sizeof import sizeof

from dask_em.errors import DaskEMError, DataError
from dask_em.execution.blas import pin_blas_once
from dask_em.execution.chunks import Chunk
from dask_em.execution.copies import Anchor, copies
from dask_em.execution.environment import environment
from dask_em.execution.memory import keep_freed_memory_once
from dask_em.reduction import Sink, total_of_blocks, write_blocks
from dask_em.rows import Workspace
from dask_em.storage.blocks import Block, Reader
from dask_em.storage.retrying import NOTES, Retrying, told
from dask_em.storage.source import Atom, Source

__all__ = [
    "BlockTask",
    "CountTask",
    "Graph",
    "KeepTask",
    "Kept",
    "Parcel",
    "Told",
    "bare_blocks",
    "held_by",
    "held_by_blocks",
    "keep",
    "large_graphs",
    "opened",
    "parcel",
    "small_parcel",
    "with_held",
    "without_held",
]

INLINE = 64 * 1024  # bytes of pickle that travel inside each task


@dataclass(frozen=True)
class Parcel:
    """A value pickled once, on the driver; the scheduler hands it on unopened."""

    data: bytes

    def open(self) -> Any:
        """Return the value."""
        return cloudpickle.loads(self.data)


def parcel(value: Any) -> Parcel:
    """Pickle a value."""
    return Parcel(cloudpickle.dumps(value, protocol=5))


def small_parcel(value: Any) -> Parcel | None:
    """Pickle a value that is small enough to travel inside each task, else return None; large arrays are not copied."""
    buffers: list[Any] = []
    data = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    if len(data) + sum(buffer.raw().nbytes for buffer in buffers) > INLINE:
        return None
    return parcel(value) if buffers else Parcel(data)


def opened(value: Any) -> Any:
    """Return what a parcel holds; anything else as it is."""
    return value.open() if isinstance(value, Parcel) else value


def keep(value: Any) -> Any:
    """Return a value so that it stays on a worker: where the worker dies, the scheduler has it made again."""
    return opened(value)


class Graph(dict[Hashable, Any]):
    """Tasks by key, which are told apart from others by a name: Dask would hash all that they carry, once a pass."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


@normalize_token.register(Graph)  # type: ignore[no-untyped-call, untyped-decorator]  # dask's own
def _name_of_graph(graph: Graph) -> tuple[str, str]:
    return "dask_em.Graph", graph.name


def large_graphs() -> Any:
    """Return a context in which rows in memory may travel without a warning: they travel once, on purpose."""
    return dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PiB"})


@dataclass(frozen=True)
class Told:
    """What a task returns: its value, the arithmetic it was computed with, and what went wrong and was mended.

    Nothing else leaves a task, since a task that runs twice would do everything else twice.
    """

    value: Any
    environments: frozenset[str]
    notes: tuple[str, ...] = ()

    def __add__(self, other: Told) -> Told:
        notes = (self.notes + other.notes)[:NOTES]
        return Told(self.value + other.value, self.environments | other.environments, notes)


@dataclass(frozen=True, eq=False)  # told apart by identity: copies live with it
class Kept(Anchor):
    """Blocks whose rows stay on a worker, and what went wrong and was mended while they were read."""

    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockTask:
    """A batch of blocks: their sum, or their results written to a sink. Called with the values of ``held``."""

    run: str
    slab_rows: int
    held: tuple[Hashable, ...] = ()
    sink: Sink | None = None
    fresh: bool = False  # whether rows that stay were read for this pass: what went wrong then is told in it
    common: frozenset[int] = frozenset()  # blocks of which each worker keeps a copy
    ahead: Parcel | None = None  # those blocks, where copies are to be read now

    def __call__(self, kernel: Any, source: Any, blocks: Any, kept: Kept | None, *values: Any) -> Told:
        """Compute it, on a worker, from blocks to be read and blocks whose rows stay there."""
        keep_freed_memory_once()
        kernel, source, blocks = opened(kernel), opened(source), opened(blocks)
        notes = kept.notes if kept is not None and self.fresh else ()
        pin_blas_once()  # after unpickling: only libraries that are loaded can be limited
        given = dict(zip(self.held, values, strict=True))
        if given:
            blocks = [_each_atom(block, lambda atom: with_held(atom, given)) for block in blocks]
        reader = Reader(source, self.slab_rows, _workspace(self.run))
        blocks = self._with_copies(blocks, kept, reader)
        together = sorted((*blocks, *(kept.blocks if kept is not None else ())), key=lambda block: block.index)
        if self.sink is not None:
            value = write_blocks(kernel, reader, together, self.sink)
        else:
            value = total_of_blocks(kernel, reader, together)
        return Told(value, frozenset({environment()}), notes + reader.retrying.told())

    def _with_copies(self, blocks: Sequence[Block], kept: Kept | None, reader: Reader) -> Sequence[Block]:
        here = copies(self.run, kept)
        if here is None:
            return blocks
        here.only(self.common)
        here.of(opened(self.ahead) or (), reader)
        return here.of(blocks, reader) if self.common.issuperset(block.index for block in blocks) else blocks


@dataclass(frozen=True)
class KeepTask:
    """Read the rows of blocks to stay on the worker."""

    slab_rows: int

    def __call__(self, source: Any, blocks: Any) -> Kept:
        """Read them, on a worker."""
        keep_freed_memory_once()
        reader = Reader(opened(source), self.slab_rows)
        return Kept(tuple(reader.keep(block) for block in opened(blocks)), reader.retrying.told())


@dataclass(frozen=True)
class CountTask:
    """The numbers of rows of some atoms."""

    held: tuple[Hashable, ...] = ()

    def __call__(self, source: Any, atoms: Any, *values: Any) -> list[int]:
        """Read the atoms and count their rows."""
        given = dict(zip(self.held, values, strict=True))
        return [_rows(opened(source), with_held(atom, given)) for atom in opened(atoms)]


def _rows(source: Source, atom: Atom) -> int:
    try:
        return len(Retrying()(lambda: source.load(atom), atom.place))
    except DaskEMError:
        raise
    except Exception as error:
        raise DataError(
            f"cannot count the rows of {atom.place}: {told(error)}. Look whether it can be read by itself"
        ) from error


def held_by(atoms: Sequence[Atom]) -> dict[Hashable, Any]:
    """Return what the atoms need of what lies on the cluster already: futures by key."""
    held: dict[Hashable, Any] = {}

    def note(chunk: Chunk) -> Chunk:
        held.update(chunk.held)
        return chunk

    for atom in atoms:
        _each_chunk(atom, note)
    return held


def held_by_blocks(blocks: Iterable[Block]) -> dict[Hashable, Any]:
    """Return what blocks need of what lies on the cluster already: futures by key."""
    return held_by([piece.atom for block in blocks for piece in block.pieces])


def without_held(atom: Atom) -> Atom:
    """Return an atom that says which keys it needs on the cluster, without their futures."""
    changed: Atom = _each_chunk(atom, Chunk.without)
    return changed


def with_held(atom: Atom, values: Mapping[Hashable, Any]) -> Atom:
    """Return an atom of :func:`without_held` with the values that it needs."""
    changed: Atom = _each_chunk(atom, lambda chunk: chunk.given(values)) if values else atom
    return changed


def _each_chunk(where: Any, change: Callable[[Chunk], Chunk]) -> Any:
    """Change every chunk that an atom holds, itself or in the atom that it wraps."""
    if isinstance(where, Chunk):
        return change(where) if where.held else where
    if isinstance(where, Atom):
        inner = _each_chunk(where.where, change)
        return where if inner is where.where else dataclasses.replace(where, where=inner)
    if type(where) is tuple:
        parts = tuple(_each_chunk(part, change) for part in where)
        return where if all(new is old for new, old in zip(parts, where, strict=True)) else parts
    return where


def bare_blocks(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Return blocks that say which keys they need on the cluster, without their futures."""
    return tuple(_each_atom(block, without_held) for block in blocks)


def _each_atom(block: Block, change: Callable[[Atom], Atom]) -> Block:
    pieces = tuple(dataclasses.replace(piece, atom=change(piece.atom)) for piece in block.pieces)
    return dataclasses.replace(block, pieces=pieces)


class _OfThread(threading.local):
    """The workspace of a worker's thread, for one run: the next run's sizes differ, and the old one's memory goes."""

    run = ""
    workspace = Workspace()


_THREAD = _OfThread()


def _workspace(run: str) -> Workspace:
    if _THREAD.run != run:
        _THREAD.run, _THREAD.workspace = run, Workspace()
    return _THREAD.workspace


@sizeof.register(Kept)  # type: ignore[no-untyped-call, untyped-decorator]  # dask's own
def _size_of_kept(kept: Kept) -> int:
    """Tell the worker's memory manager what blocks hold whose rows stay."""
    return sum(piece.atom.nbytes for block in kept.blocks for piece in block.pieces)


@sizeof.register(Block)  # type: ignore[no-untyped-call, untyped-decorator]  # dask's own
def _size_of_block(block: Block) -> int:
    """Tell the worker's memory manager what a block that was sent holds: rows in memory, or weights of rows at rest."""
    return sum(int(sizeof(piece.atom.where)) for piece in block.pieces)
