"""The commands put together."""

from __future__ import annotations

from typing import Annotated

import typer

from dask_em import __version__
from dask_em.cli.fit import fit
from dask_em.cli.guard import guarded
from dask_em.cli.inspect import inspect
from dask_em.cli.plan import plan
from dask_em.cli.predict import predict
from dask_em.cli.sample import sample
from dask_em.cli.schema import schema
from dask_em.cli.score import score
from dask_em.cli.show import show

__all__ = ["app"]

app = typer.Typer(
    name="dask-em",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # the guard says what went wrong
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (fit, plan, inspect, predict, score, sample, show, schema):
    app.command()(guarded(command))


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dask-em {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version and end.")
    ] = False,
) -> None:
    """Mixture models by expectation-maximisation, over data of any size.

    Exit status: 0 done, 2 the input is wrong (one message says how), 1 a fault of dask-em's, 3 the cluster was lost,
    130 stopped by Ctrl-C,
    143 stopped by SIGTERM.
    """
