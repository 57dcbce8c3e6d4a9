"""The command line, one command a file."""

from __future__ import annotations

import sys
from importlib import import_module

__all__ = ["main"]


def main() -> None:
    """Run the command line; Ctrl-C ends it in a sentence while it is being loaded, too."""
    try:
        app = import_module("dask_em.cli.app").app
    except KeyboardInterrupt:
        sys.stderr.write("stopped by Ctrl-C\n")
        sys.exit(130)
    app()
