"""Kernels whose sums show the order they were taken in, and sources and layouts made by hand."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dask_em._record import record
from dask_em.errors import DataError
from dask_em.rows import Rows, Schema
from dask_em.statistics import Joint, Manifest, Statistics
from dask_em.storage.blocks import Block, Layout, Piece
from dask_em.storage.source import Atom, Source

Array = np.ndarray[Any, Any]


@record
class Sums(Statistics):
    """Sums of products in float64, whose last bits depend on the order."""

    count: int
    first: Array  # (d,)
    second: Array  # (d, d)


def sums(rows: Rows) -> Joint:
    weighted = rows.values * rows.weight[:, None]
    return Joint(
        (Sums(len(rows), weighted.sum(0), weighted.T @ rows.values), Sums(0, rows.index[:1] * 0.1, np.zeros(1)))
    )


def sums_with(parameters: Array, rows: Rows) -> Joint:
    return Joint((sums(rows).members[0], Sums(0, np.array([parameters.sum()]), np.zeros(1))))


@dataclass(frozen=True)
class Workers:
    """Which processes took how many slabs."""

    of: dict[int, int]

    def __add__(self, other: Workers) -> Workers:
        return Workers({pid: self.of.get(pid, 0) + other.of.get(pid, 0) for pid in {*self.of, *other.of}})


def workers(parameters: Array, rows: Rows) -> Workers:
    time.sleep(0.03)  # long enough that one worker alone would fall behind
    return Workers({os.getpid(): 1})


def fails_late(rows: Rows) -> Joint:
    if rows.index[-1] >= 500:
        raise DataError("row 500 of the array is not finite; clean it first")
    return sums(rows)


def kills_once(mark: Path, rows: Rows) -> Joint:
    """Kill the worker in the middle of a pass: exactly one, whoever comes first."""
    if rows.index[0] >= 300:
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return sums(rows)


def kills_twice(folder: Path, rows: Rows) -> Joint:
    """Kill a worker in each of the first two attempts."""
    if rows.index[0] == 0:
        for mark in (folder / "one", folder / "two"):
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
    return sums(rows)


def hangs_once(mark: Path, rows: Rows) -> Joint:
    if rows.index[0] == 0 and not mark.exists():
        mark.touch()
        time.sleep(3)
    return sums(rows)


def doubled(rows: Rows) -> Array:
    return 2.0 * rows.values[:, 0]


def doubles_few(rows: Rows) -> Array:
    if rows.index[-1] >= 500:
        raise DataError("row 500 of the array is not finite; clean it first")
    return doubled(rows)


def two_columns(rows: Rows) -> Array:
    return rows.values[:, :1] * [2.0, 3.0]


@dataclass(frozen=True)
class Folder:
    """A sink of one .npy file a block."""

    path: Path

    def begin(self) -> None:
        self.path.mkdir()

    def write(self, block: Block, parts: Iterator[Array]) -> Manifest:
        values = np.concatenate(list(parts))
        np.save(self.path / f"{block.index:05}.npy", values)
        return Manifest(len(values), values.nbytes, (f"{block.index:05}.npy",))

    def commit(self, manifest: Manifest) -> None:
        (self.path / "done").write_text("\n".join(manifest.parts))

    def abandon(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.with_suffix(".abandoned").touch()


class Memory:
    """Rows in memory: atoms carry their views."""

    def __init__(self, values: Array, atom_rows: int = 70) -> None:
        self.schema = Schema(values.shape[1], values.dtype)
        self.name = "memory"
        self._values: Array | None = values
        self._atom_rows = atom_rows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_values": None}

    def atoms(self) -> Sequence[Atom]:
        assert self._values is not None
        parts = [self._values[i : i + self._atom_rows] for i in range(0, len(self._values), self._atom_rows)]
        return [Atom(len(part), part.nbytes, f"rows of part {i}", part) for i, part in enumerate(parts)]

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        return Rows.of(atom.where)[rows]


class Seeded:
    """Rows at rest: made from their number wherever they are read. Pads the source, to see it travel."""

    def __init__(self, atoms: int, atom_rows: int = 70, padding: int = 0) -> None:
        self.schema = Schema(3, np.dtype(np.float64))
        self.name = "seeded"
        self._atoms, self._atom_rows, self.padding = atoms, atom_rows, np.zeros(padding)

    def atoms(self) -> Sequence[Atom]:
        return [Atom(self._atom_rows, self._atom_rows * 24, f"part {i}", i) for i in range(self._atoms)]

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        return Rows.of(values_of(atom.where, self._atom_rows))[rows]


def values_of(seed: int, rows: int, columns: int = 3) -> Array:
    """Random rows of very different sizes: float sums of them depend on their order."""
    random = np.random.default_rng(seed)
    return random.standard_normal((rows, columns)) * 10.0 ** random.integers(-6, 6, (rows, 1))


def layout_of(source: Source, blocks: int = 11, slab_rows: int = 32, atoms: Sequence[Atom] | None = None) -> Layout:
    """Cut a source into blocks of nearly equal rows, across its atoms."""
    atoms = source.atoms() if atoms is None else atoms
    ends = np.cumsum([0, *(atom.rows or 0 for atom in atoms)])
    cuts = [int(ends[-1]) * i // blocks for i in range(blocks + 1)]
    made = []
    for start, stop in pairwise(cuts):
        pieces = tuple(
            Piece(atom, max(start - int(low), 0), min(stop, int(high)) - int(low))
            for atom, low, high in zip(atoms, ends, ends[1:], strict=False)
            if max(start, low) < min(stop, high)
        )
        if pieces:
            made.append(Block(len(made), start, pieces))
    return Layout(source, tuple(made), slab_rows)


def transitions(dask_scheduler: Any, run: str) -> dict[str, int]:
    """Return how many tasks of each prefix a run has ever had finished in the memory of a worker."""
    seen: dict[str, int] = {}
    for key, _, new, *_ in dask_scheduler.transition_log:
        if isinstance(key, tuple) and run in str(key[0]) and new == "memory":
            prefix = key[0].partition("-")[0]
            seen[prefix] = seen.get(prefix, 0) + 1
    return seen
