"""The command line, one command a file."""

from dask_em.cli.app import main

__all__ = ["main"]
