"""``dask-em schema``: the JSON schema of configs."""

from __future__ import annotations

import typer

from dask_em.config import json_schema

__all__ = ["schema"]


def schema() -> None:
    """Write the JSON schema of configs, which lets editors check and complete them."""
    typer.echo(json_schema(), nl=False)
