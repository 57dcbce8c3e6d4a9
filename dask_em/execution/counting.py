"""One counting read, for atoms whose number of rows nobody knows: plans are made of numbers."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dask_em.execution.recognition import require_client
from dask_em.execution.tasks import CountTask, held_by, large_graphs, parcel, without_held
from dask_em.execution.threads import cores
from dask_em.storage.source import Atom, Source

__all__ = ["counted"]

TASKS = 256  # at most, however many atoms there are


def counted(source: Source, client: Any = None) -> Sequence[Atom]:
    """Return a source's atoms with the rows of every one known, reading those that do not tell.

    They are read on the cluster of ``client``, else by the threads of this process.

    Raises
    ------
    DataError
        An atom cannot be read; the message names it.
    InputError
        ``client`` is no client that works.
    """
    atoms = source.atoms()
    unknown = [atom for atom in atoms if atom.rows is None]
    if not unknown:
        return atoms
    if client is not None:
        require_client(client)
    counts = _here(source, unknown) if client is None else _there(source, unknown, client)
    each = source.schema.features * source.schema.dtype.itemsize
    return tuple(atom if atom.rows is not None else _with_rows(atom, next(counts), each) for atom in atoms)


def _with_rows(atom: Atom, rows: int, each: int) -> Atom:
    return dataclasses.replace(atom, rows=rows, nbytes=atom.nbytes or rows * each)


def _here(source: Source, atoms: Sequence[Atom]) -> Iterator[int]:
    count = CountTask()
    with ThreadPoolExecutor(cores()) as pool:
        return iter([rows for counts in pool.map(lambda atom: count(source, [atom]), atoms) for rows in counts])


def _there(source: Source, atoms: Sequence[Atom], client: Any) -> Iterator[int]:
    run, size = uuid.uuid4().hex[:12], -(-len(atoms) // TASKS)
    packed = parcel(source)
    futures: list[Any] = []
    try:
        for number, first in enumerate(range(0, len(atoms), size)):
            batch = atoms[first : first + size]
            held = held_by(batch)
            sent = parcel([without_held(atom) for atom in batch])
            with large_graphs():
                futures.append(
                    client.submit(
                        CountTask(tuple(held)), packed, sent, *held.values(), key=(f"cnt-0{run}", number), pure=False
                    )
                )
        return iter([rows for future in futures for rows in future.result()])
    finally:
        for future in futures:
            future.release()
