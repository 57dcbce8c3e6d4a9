"""``dask-em predict``: what a model says of every row, streamed to storage."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from dask_em.cli.given import MODEL, SOURCE, loaded, options_beside, rows_of
from dask_em.report import data_size
from dask_em.storage.secrets import without_credentials

__all__ = ["What", "predict"]


class What(StrEnum):
    """What to write for each row."""

    labels = "labels"
    responsibilities = "responsibilities"
    log_density = "log_density"


def predict(
    model: Annotated[str, typer.Argument(help=MODEL, metavar="MODEL")],
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
    options = options_beside(source)
    fitted = loaded(model, options)
    with rows_of(source) as (data, client):
        there = options if "://" in out else None
        written = fitted.predict_to(data, out, what=what.value, client=client, storage_options=there)
    told = f"{what.value} of {written.rows:,} rows ({data_size(written.nbytes)})"
    typer.echo(f"{told} are in {without_credentials(out)}")
