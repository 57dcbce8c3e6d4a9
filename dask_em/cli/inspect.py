"""``dask-em inspect``: what is in a source, from its metadata."""

from __future__ import annotations

from typing import Annotated

import typer

from dask_em.cli.given import SOURCE, opened
from dask_em.report import data_size

__all__ = ["inspect"]


def inspect(source: Annotated[str, typer.Argument(help=SOURCE, metavar="SOURCE")]) -> None:
    """Tell the rows, columns and storage units of SOURCE, from its metadata: no row is read."""
    found = opened(source)
    schema, atoms = found.schema, found.atoms()
    counts = [atom.rows for atom in atoms]
    rows = "not known before they are counted" if None in counts else f"{sum(filter(None, counts)):,}"
    typer.echo(f"source   {found.name}")
    typer.echo(f"rows     {rows}")
    typer.echo(f"columns  {schema.features:,} of type {schema.dtype}")
    if schema.names is not None:
        typer.echo(f"names    {', '.join(schema.names)}")
    typer.echo(f"units    {len(atoms):,}, {data_size(sum(atom.nbytes for atom in atoms))} once decoded")
    if atoms:
        largest = max(atoms, key=lambda atom: atom.nbytes)
        held = "" if largest.rows is None else f"{largest.rows:,} rows, "
        typer.echo(f"largest  {largest.place}: {held}{data_size(largest.nbytes)}")
