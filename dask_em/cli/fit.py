"""``dask-em fit``: from a config to a run directory."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from logging import Logger
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dask_em import __version__
from dask_em.cli.guard import say
from dask_em.cli.progress import Progress
from dask_em.cli.run_directory import RunDirectory
from dask_em.cli.settings import client_of, mixture_of, source_of
from dask_em.cli.summary import summary_of
from dask_em.config import Config, dump_config, load_config
from dask_em.driver import Entry
from dask_em.estimators import GaussianMixture
from dask_em.report import HistoryTable, log_likelihood_picture

__all__ = ["fit"]


def fit(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/quickstart.yaml.", metavar="CONFIG")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=c", help="Use another value for a key of the config.")
    ] = None,
) -> None:
    """Fit the model that CONFIG describes, into its run directory."""
    settings = load_config(config, overrides or [])
    source = source_of(settings.data)
    run, aside = RunDirectory.claim(settings.output.directory)
    if aside is not None:
        say(f"the finished run that was in {run.path} is now in {aside}")
    run.config.write_text(dump_config(settings), encoding="utf-8")
    with run.logged() as logger:
        logger.info("dask-em %s fits %s", __version__, config)
        began = time.perf_counter()
        model = _fitted(settings, source, run, logger)
        text = summary_of(model, time.perf_counter() - began).text()
        logger.info("done\n%s", text)
    typer.echo(f"\n{text}\n\n{_where(run)}\n\nnext: {_next(settings, config, run)}")


def _fitted(settings: Config, source: object, run: RunDirectory, logger: Logger) -> GaussianMixture:
    model, table, histories = mixture_of(settings), HistoryTable(run.history), dict[int, list[Entry]]()
    try:
        with client_of(settings.cluster) as client, Progress(settings.fit, Console(stderr=True)) as progress:
            for iteration in model.iterate(source, client=client):
                entries = histories.setdefault(iteration.member, [])
                entries.append(iteration.entry)
                table.add(iteration.member, iteration.entry)
                logger.info(progress.show(iteration.member, entries))
    except KeyboardInterrupt:
        logger.warning("stopped by Ctrl-C")
        say(f"no model was saved; the passes so far are in {run.history}")
        raise
    log_likelihood_picture(histories, run.picture, model.outcome_.sentence)
    model.save(run.model)
    return model


def _where(run: RunDirectory) -> str:
    return "\n".join(
        f"  {path}  {what}"
        for path, what in (
            (run.model, "the model"),
            (run.history, "a line for each pass"),
            (run.picture, "the log-likelihood by pass, as a picture"),
            (run.config, "the config as it was used"),
        )
    )


def _next(settings: Config, config: Path, run: RunDirectory) -> str:
    """Return the command that uses the model: over the source alone where that says all, else over the config."""
    data = settings.data
    plain = data == type(data)(source=data.source, weights=data.weights, columns=data.columns, missing=data.missing)
    source = data.source if plain else str(config)
    return shlex.join([_program(), "predict", str(run.model), source, "--out", "labels.zarr"])


def _program() -> str:
    """Return how this program is called from here."""
    called = Path(sys.argv[0])
    if shutil.which("dask-em") == str(called):
        return "dask-em"
    return str(called.relative_to(Path.cwd())) if called.is_relative_to(Path.cwd()) else str(called)
