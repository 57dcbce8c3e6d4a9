"""``dask-em show``: a fitted model in plain words."""

from __future__ import annotations

from typing import Annotated

import typer

from dask_em.cli.given import MODEL, loaded
from dask_em.cli.summary import summary_of

__all__ = ["show"]


def show(model: Annotated[str, typer.Argument(help=MODEL, metavar="MODEL|RUN")]) -> None:
    """Tell what MODEL is, how its fit ended, and how large its components are."""
    typer.echo(summary_of(loaded(model)).text())
