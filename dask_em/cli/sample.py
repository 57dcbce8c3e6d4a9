"""``dask-em sample``: rows drawn from a model, streamed to storage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import typer

from dask_em.cli.given import MODEL, loaded
from dask_em.estimators import GaussianMixture
from dask_em.reduction import write_whole
from dask_em.storage import Atom, open_sink
from dask_em.storage.blocks import Block, Piece
from dask_em.storage.secrets import without_credentials

__all__ = ["sample"]

BATCH = 65_536  # rows that are drawn and held at a time


def sample(
    model: Annotated[str, typer.Argument(help=MODEL, metavar="MODEL")],
    rows: Annotated[int, typer.Argument(help="How many rows to draw.", metavar="N", min=1)],
    out: Annotated[str, typer.Option("--out", metavar="DEST", help="Where to: NAME.zarr or NAME.parquet.")],
    seed: Annotated[int, typer.Option(help="The same seed draws the same rows.", min=0, max=2**32 - 1)] = 0,
) -> None:
    """Draw N rows from MODEL; DEST appears when all of them are there."""
    fitted = loaded(model)
    names = getattr(fitted, "feature_names_in_", None)
    sink = open_sink(
        out,
        rows=rows,
        width=fitted.n_features_in_,
        names=[f"column_{i}" for i in range(fitted.n_features_in_)] if names is None else names.tolist(),
        dtype=np.dtype(np.float64),
        chunk_rows=BATCH,
    )
    everything = Block(0, 0, (Piece(Atom(rows, 8 * rows * fitted.n_features_in_, "the sample"), 0, rows),))
    write_whole(sink, lambda: sink.write(everything, _draws(fitted, rows, seed)))
    typer.echo(f"{rows:,} rows of {fitted.n_features_in_} columns are in {without_credentials(out)}")


def _draws(model: GaussianMixture, rows: int, seed: int) -> Iterator[np.ndarray[Any, Any]]:
    model.set_params(random_state=np.random.RandomState(seed))  # one stream of numbers for all batches
    for first in range(0, rows, BATCH):
        yield model.sample(min(BATCH, rows - first))[0]
