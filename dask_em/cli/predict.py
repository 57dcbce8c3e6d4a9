"""``dask-em predict``: what a model says of every row, streamed to storage."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dask_em.cli.given import MODEL, SOURCE, loaded, rows_of
from dask_em.report import data_size

__all__ = ["What", "predict"]


class What(StrEnum):
    """What to write for each row."""

    labels = "labels"
    responsibilities = "responsibilities"
    log_density = "log_density"


def predict(
    model: Annotated[Path, typer.Argument(help=MODEL, metavar="MODEL")],
    source: Annotated[str, typer.Argument(help=SOURCE, metavar="SOURCE")],
    out: Annotated[str, typer.Option("--out", metavar="DEST", help="Where to: NAME.zarr or NAME.parquet.")],
    what: Annotated[
        What,
        typer.Option(
            help="The most probable component; the probability of each; or the log-density of the row, in nats."
        ),
    ] = What.labels,
) -> None:
    """Write what MODEL says of each row of SOURCE, block by block; DEST appears when all of it is there."""
    fitted = loaded(model)
    with rows_of(source) as (data, client):
        written = fitted.predict_to(data, out, what=what.value, client=client)
    typer.echo(f"{what.value} of {written.rows:,} rows ({data_size(written.nbytes)}) are in {out}")
