"""``dask-em plan``: what a fit will read and hold, told before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dask_em.cli.settings import source_of
from dask_em.config import load_config
from dask_em.estimators.fitted import model_size
from dask_em.execution import counted
from dask_em.families import Gaussian, covariance_named
from dask_em.mixture import Free, Mixture
from dask_em.plan import plan as planned

__all__ = ["plan"]


def plan(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/quickstart.yaml.", metavar="CONFIG")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=c", help="Use another value for a key of the config.")
    ] = None,
) -> None:
    """Tell what one pass of the fit in CONFIG reads, computes and holds in memory."""
    settings = load_config(config, overrides or [])
    source, model = source_of(settings.data), settings.model
    mixture = Mixture(Gaussian(covariance_named(model.covariance), model.regularization), Free())
    size = model_size(mixture, model.components, source.schema.features, settings.fit.restarts)
    for sentence in planned(source, counted(source), size).sentences():
        typer.echo(sentence)
