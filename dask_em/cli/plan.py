"""``dask-em plan``: what a fit will read, hold and take, told before anything runs."""

from __future__ import annotations

from typing import Annotated

import typer

from dask_em.cli.settings import estimator_of, found_of, job_script_of, kept_of, mixture_of, source_of, threads_of
from dask_em.config import load_config
from dask_em.estimators.planning import forecast
from dask_em.storage.secrets import without_credentials

__all__ = ["plan"]

FREE = "Between passes: blocks stay in memory up to half of what is free; cluster.resident says otherwise (4GiB, 0B)."


def plan(
    config: Annotated[str, typer.Argument(help="A YAML file, such as configs/quickstart.yaml.", metavar="CONFIG")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=c", help="Use another value for a key of the config.")
    ] = None,
    trial: Annotated[
        bool, typer.Option(help="Foretell the seconds of a pass from a short trial on this machine.")
    ] = True,
    job_script: Annotated[
        bool, typer.Option("--job-script", help="Show the job script that a fit would submit, and nothing else.")
    ] = False,
) -> None:
    """Tell what one pass of the fit in CONFIG reads, computes, holds in memory and takes."""
    settings = load_config(config, overrides or [])
    if job_script:
        typer.echo(job_script_of(settings.cluster))
        return
    threads, source = threads_of(settings.cluster), source_of(settings.data)
    found = found_of(settings.data, source)
    if settings.data.spool and found is None:
        spool = without_credentials(settings.data.spool)
        typer.echo(f"First: the rows are written to {spool}; what follows is told of {source.name}.")
    planned, kept = estimator_of(settings).plan(found or source), kept_of(settings.cluster)
    for sentence in planned.sentences():
        typer.echo(sentence)
    typer.echo(FREE if kept is None else planned.residence(kept))
    planned.require_memory(threads.memory, "Raise cluster.memory_limit or lower cluster.threads_per_worker")
    busy = threads.number
    if threads.of_workers:
        busy = min(busy, len(planned.layout.blocks))
        typer.echo(_workers(settings.cluster.threads_per_worker, threads.number, busy))
    if trial:
        typer.echo(forecast(planned, mixture_of(settings)).sentence(planned.layout.rows, busy))


def _workers(each: int, threads: int, busy: int) -> str:
    """Tell how many workers there are to be, and whether all find work: a thread computes one block at a time."""
    told = f"Workers: {threads // each:,}, with {threads:,} thread{'s' * (threads > 1)} in all"
    if busy == threads:
        return f"{told}."
    return f"{told}, but {busy:,} block{'s' * (busy > 1)} a pass: {threads - busy:,} threads would wait. Ask for fewer."
