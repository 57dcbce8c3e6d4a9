from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dask_em.cli.app import app

CONFIG = """
data: {source: rows.npy}
model: {components: 2, covariance: diag}
fit: {tolerance: 1e-5, max_passes: 60}
output: {directory: runs/two}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with two clusters of rows and a config that fits them."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    np.save("rows.npy", np.concatenate([random.normal(-3, 1, (300, 2)), random.normal(3, 1, (700, 2))]))
    Path("config.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def call(folder: Path) -> Callable[[Sequence[str]], Result]:
    """Run a command in the folder."""
    return lambda arguments: CliRunner().invoke(app, list(arguments))


@pytest.fixture
def run(call: Callable[[Sequence[str]], Result], folder: Path) -> Path:
    """The directory of a finished run."""
    done = call(["fit", "config.yaml"])
    assert done.exit_code == 0, done.output
    return folder / "runs/two"
