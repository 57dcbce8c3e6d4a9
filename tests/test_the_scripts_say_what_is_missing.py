import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASH = shutil.which("bash")
OLD = "#!/bin/sh\nexit 1\n"  # whatever it is asked, as a Python before 3.11 is asked for its version
SCRIPTS = ["fit", "test", "check", "laws", "slurm_allocation.sh", "slurm_jobqueue.sh", "pbs_jobqueue.sh"]
WITHOUT_VENV = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexit 0\n'


@pytest.fixture
def clone(tmp_path):
    """A repository without an environment, and a machine with little more than a shell."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "dirname", "cat", "cksum"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    return tmp_path


def said(clone, script="fit", python=None):
    if python is not None:
        (clone / "bin/python3").write_text(python)
        (clone / "bin/python3").chmod(0o755)
    environment = {"PATH": str(clone / "bin"), "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        [BASH, str(clone / "scripts" / script), "x.yaml"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, "one sentence"
    return done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_when_there_is_no_python(clone, script):
    assert said(clone, script).startswith("dask-em needs Python 3.11 or newer, which was not found here as python3: ")


def test_when_python_is_too_old(clone):
    assert "dask-em needs Python 3.11 or newer" in said(clone, python=OLD)


def test_when_venv_is_missing(clone):
    assert "apt-get install python3-venv" in said(clone, python=WITHOUT_VENV)
