"""The seam for rows at rest. Anything with a schema, atoms and a load is a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from dask_em.rows import Rows, Schema

__all__ = ["Atom", "Source"]


@dataclass(frozen=True)
class Atom:
    """A storage unit: a chunk, a shard, a row group, a partition.

    Small and picklable where the rows are at rest; where they are in memory, ``where`` may hold them.
    """

    rows: int | None  # None: not known before one counting read
    nbytes: int  # of its rows once decoded
    place: str  # for people: "chunk 3 of data.zarr"
    where: Any = field(default=None, repr=False)  # for the source
    divisible: bool = False  # whether a part costs no more than its share: nothing is decoded


@runtime_checkable
class Source(Protocol):
    """Rows at rest. Picklable; opened where it is read.

    Laws: ``atoms()`` gives the same atoms in the same order each time; ``load(atom)`` gives ``atom.rows`` rows, the
    same bits each time; ``load(atom, rows)`` gives ``load(atom)[rows]``.
    """

    @property
    def schema(self) -> Schema:
        """The columns."""
        ...

    @property
    def name(self) -> str:
        """What people call it: a path, a URL, "array"."""
        ...

    def atoms(self) -> Sequence[Atom]:
        """Return the storage units in canonical order; from metadata alone."""
        ...

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        """Read (some of) an atom's rows; DataError names what cannot be read."""
        ...
