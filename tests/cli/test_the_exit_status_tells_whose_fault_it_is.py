import re
import subprocess
import sys
from pathlib import Path

import pytest

import dask_em
import dask_em.cli.fit
import dask_em.cli.given
import dask_em.cli.plan

PROGRAM = [sys.executable, "-c", "from dask_em.cli import main; main()"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fit", "none.yaml"], "error: cannot read the config none.yaml: No such file or directory"),
        (["fit", "config.yaml", "--set", "fit.tolerence=1"], "unknown key fit.tolerence. Did you mean 'fit.tolerance'"),
        (["fit", "config.yaml", "--set", "data.source=none.npy"], "none.npy"),
        (["fit", "config.yaml", "--set", "model.components=2000"], "2000"),
        (["plan", "config.yaml", "--set", "data.columns=[a]"], "column"),
        (["inspect", "none.zarr"], "none.zarr"),
        (["inspect", ""], "the path is empty"),
        (["fit", "config.yaml", "--set", "cluster.kind=local", "--set", "cluster.memory_limit=10MB"], "memory_limit"),
        (["show", "none.npz"], "none.npz"),
        (["score", "config.yaml", "rows.npy"], "config.yaml"),
    ],
)
def test_two_with_one_message_when_it_is_the_users(call, arguments, sentence):
    done = call(arguments)
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.output


@pytest.mark.parametrize("arguments", [["fit"], ["nothing"], ["fit", "config.yaml", "--wrong"], ["sample", "x", "0"]])
def test_two_when_the_command_line_is_wrong(call, arguments):
    done = call(arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


def fail(*_, **__):
    raise ZeroDivisionError("the sky fell")


def test_one_when_a_fit_of_ours_fails_and_its_log_has_the_traceback(call, monkeypatch):
    monkeypatch.setattr(dask_em.cli.fit, "estimator_of", fail)
    done = call(["fit", "config.yaml"])
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "dask-em failed, which is a fault of ours: ZeroDivisionError: the sky fell",
        "The traceback is in runs/two/fit.log; please report it, with what you ran.",
    ]
    assert "in fail\n    raise ZeroDivisionError" in Path("runs/two/fit.log").read_text()


def test_one_when_another_command_fails_and_a_file_has_the_traceback(call, monkeypatch):
    monkeypatch.setattr(dask_em.cli.plan, "source_of", fail)
    done = call(["plan", "config.yaml"])
    assert done.exit_code == 1
    log = Path(re.search(r"The traceback is in (\S+);", done.stderr).group(1))
    assert "ZeroDivisionError: the sky fell" in log.read_text()
    log.unlink()


def test_a_hundred_and_thirty_when_the_user_stopped_it(call, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(dask_em.cli.progress.Progress, "show", stop)
    done = call(["fit", "config.yaml"])
    assert done.exit_code == 130
    assert done.stderr.splitlines() == [
        "what was reached is kept in runs/two/checkpoints; to go on:",
        f"  {dask_em.cli.given.program()} fit config.yaml --resume",
        "stopped by Ctrl-C",
    ]
    assert len(Path("runs/two/history.csv").read_text().splitlines()) == 2


def test_and_the_program_itself_hands_it_on(folder):
    done = subprocess.run([*PROGRAM, "plan", "none.yaml"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: cannot read the config none.yaml")
    told = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == f"dask-em {dask_em.__version__}\n"


def test_130_when_ctrl_c_comes_while_the_program_is_still_loaded():
    code = """
import sys
class Stop:
    def find_spec(self, name, path, target=None):
        if name == "dask_em.cli.fit":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stop())
from dask_em.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "stopped by Ctrl-C\n")
