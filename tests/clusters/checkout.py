"""A checkout as a user has it, whose environment is the one that runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from typer.testing import CliRunner

from dask_em.cli.app import app

__all__ = ["ROOT", "checkout", "fitted_here", "rows_of", "script"]

ROOT = Path(__file__).parent.parent.parent
HARMLESS = {"PIP_DRY_RUN": "1", "PIP_NO_INDEX": "1"}  # whatever a script might think of the environment it finds


def checkout(folder: Path, *extras: str) -> Path:
    """Make one whose scripts find installed what they would install for these extras."""
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    shutil.copytree(ROOT / "configs", folder / "configs")
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / ".venv").mkdir()
    (folder / ".venv/bin").symlink_to(Path(sys.executable).parent)
    for extra in extras:
        stamp = f'source scripts/_environment && stamp_of -e ".[{extra}]" >.venv/.installed-{extra}'
        subprocess.run(["bash", "-c", stamp], cwd=folder, check=True)
    return folder


def rows_of(folder: Path) -> Path:
    """Write three kinds of things, (900, 3), where the configs look for rows."""
    random = np.random.default_rng(1)
    kinds = [random.normal(centre, 0.5, (300, 3)) for centre in ([0, 0, 0], [4, 0, 2], [0, 5, -3])]
    rows = random.permutation(np.concatenate(kinds))
    zarr.create_array(folder / "data.zarr", data=rows, chunks=(100, 3))
    return folder


def script(
    folder: Path, name: str, *arguments: str, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[Any]:
    """Run a script of the checkout to its end, in its folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **HARMLESS, **(more or {})}
    return subprocess.run(
        [folder / "scripts" / name, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def fitted_here(folder: Path, config: str, *arguments: str) -> Path:
    """Fit a config in the threads of this process; return its run directory."""
    run = folder / "runs/here"
    where = ["--set", "cluster={kind: threads}", "--set", f"data.source={folder / 'data.zarr'}"]
    done = CliRunner().invoke(
        app, ["fit", str(folder / config), *arguments, *where, "--set", f"output.directory={run}"]
    )
    assert done.exit_code == 0, done.output
    return run
