"""``dask-em score``: how well a model fits rows."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer

from dask_em.cli.given import MODEL, SOURCE, loaded, options_beside, rows_of

__all__ = ["score"]


def score(
    model: Annotated[str, typer.Argument(help=MODEL, metavar="MODEL")],
    source: Annotated[str, typer.Argument(help=SOURCE, metavar="SOURCE")],
) -> None:
    """Tell the mean log-likelihood of the rows of SOURCE under MODEL, in nats per row."""
    fitted = loaded(model, options_beside(source))
    with rows_of(source) as (data, client), nullcontext() if client is None else client.as_current():
        typer.echo(f"{fitted.score(data):.9f} nats per row")
