"""What tests of runs share: what a run has come to, and the line that goes on with it."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path
from typing import Any

from dask_em import load
from dask_em._record import digest

__all__ = ["line_to_type", "told"]


def told(run: Path) -> Any:
    """Return what a run has come to: its model, and its history but for seconds."""
    model = load(run / "model.npz")
    with (run / "history.csv").open(newline="") as file:
        lines = [{**line, "seconds": ""} for line in csv.DictReader(file)]
    return digest(model._fitted.params), model.lower_bounds_, model.outcome_.sentence, lines


def line_to_type(text: str) -> list[str]:
    """Return the arguments of the command that a program says to type."""
    (line,) = re.findall(r"^  (\S.* fit .*--resume)$", text, re.MULTILINE)
    return shlex.split(line)
