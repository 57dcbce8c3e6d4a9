"""MPI for real: four ranks of Open MPI on this machine."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dask_em.execution.ranks import command, speaks
from tests.cli.runs import line_to_type, told
from tests.clusters.checkout import ROOT, checkout, fitted_here, rows_of, script

MPIRUN = "mpirun --oversubscribe --allow-run-as-root -n {}"
THREE = ["--set", "model.components=3"]
needs_mpirun = pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun is not installed")
pytestmark = [pytest.mark.clusters, pytest.mark.timeout(300)]


@pytest.fixture
def folder(tmp_path):
    return rows_of(checkout(tmp_path, "mpi"))


def mpi(folder, *arguments, ranks=4):
    return script(folder, "mpi.sh", "configs/mpi.yaml", *THREE, *arguments, more={"MPIRUN": MPIRUN.format(ranks)})


def errors(done):
    return re.findall(r"^error: .*", done.stderr, re.MULTILINE)


@needs_mpirun
def test_and_the_model_has_the_bits_of_a_fit_in_one_process(folder):
    done = mpi(folder, "--set", "cluster.security=tls", "--set", "cluster.threads_per_worker=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("A mixture of 3 components") == 1, "the driver alone speaks"
    assert "distributed" not in done.stderr
    fitted_here(folder, "configs/mpi.yaml", *THREE)
    assert told(folder / "runs/mpi") == told(folder / "runs/here")


LOOK = """
import dask, json
from dask_em import cluster

def seen(dask_worker):
    memory = dask_worker.memory_manager
    return [dask_worker.state.nthreads, memory.memory_limit, memory.memory_spill_fraction, dask_worker.address[:14]]

if __name__ == "__main__":
    with cluster("mpi", threads_per_worker=2, memory_limit="1GiB") as client:
        client.wait_for_workers(2, timeout=60)
        print(json.dumps(list(client.run(seen).values())))
"""


@needs_mpirun
def test_and_python_scripts_are_divided_alike(folder):
    (folder / "look.py").write_text(LOOK)
    done = subprocess.run(
        [*MPIRUN.format(4).split(), sys.executable, "look.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == '[[2, 1073741824, false, "tcp://127.0.0."], [2, 1073741824, false, "tcp://127.0.0."]]\n'


@needs_mpirun
@pytest.mark.parametrize(
    ("ranks", "said", "settings"),
    [
        (4, "unknown key cluster.workrs. Did you mean 'cluster.workers'?", ["cluster.workrs=2"]),
        (2, "cluster.kind mpi divides the ranks of mpirun, and there are 2: a scheduler, the driver and a worker", []),
        (4, "output.directory configs holds", ["output.directory=configs"]),
    ],
    ids=["a wrong config", "too few ranks", "a foreign directory"],
)
def test_and_what_all_find_wrong_is_told_once(folder, ranks, said, settings):
    done = mpi(folder, *(word for each in settings for word in ("--set", each)), ranks=ranks)
    assert done.returncode == 2, done.stderr
    (sentence,) = errors(done)
    assert said in sentence
    assert "Traceback" not in done.stderr


@needs_mpirun
@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "settings"),
    [
        ("cluster.interface is none0, which", ["cluster.interface=none0"]),
        ("cluster.workers is 8, and of the 4 ranks of mpirun 2 are workers; start 10 ranks", ["cluster.workers=8"]),
        ("cluster.kwargs do not suit dask_mpi.initialize: got an unexpected", ["cluster.kwargs={nthread: 1}"]),
        ("cluster.memory_limit is 1MB, and a worker needs", ["cluster.memory_limit=1MB"]),
    ],
)
def test_and_what_cannot_be_is_told_once_too(folder, said, settings):
    test_and_what_all_find_wrong_is_told_once(folder, 4, said, settings)


@needs_mpirun
def test_and_all_end_when_mpirun_is_told_to(folder):
    long = ["--set", "fit.tolerance=1e-15", "--set", "fit.max_passes=1000000", "--set", "fit.accelerate=false"]
    log, before = folder / "runs/mpi/fit.log", set(Path("/proc").glob("[0-9]*"))
    with (folder / "said").open("w+") as said:
        mpirun = subprocess.Popen(
            [folder / "scripts/mpi.sh", "configs/mpi.yaml", "--set", "model.components=8", *long],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MPIRUN": MPIRUN.format(4)},
            stdout=said,
            stderr=said,
        )
        try:
            end = time.monotonic() + 120
            while time.monotonic() < end and not (log.exists() and "pass   3" in log.read_text()):
                assert mpirun.poll() is None, (folder / "said").read_text()
                time.sleep(0.1)
            mpirun.send_signal(signal.SIGINT)
            assert mpirun.wait(60) != 0
        finally:
            mpirun.kill()
    text = (folder / "said").read_text()
    assert text.count("stopped by") == 1, "the driver alone"
    assert "Traceback" not in text
    assert line_to_type(text)[:3] == ["mpirun", "-n", "4"]
    ours = [path for path in set(Path("/proc").glob("[0-9]*")) - before if _runs_in(path, folder)]
    assert ours == []


def _runs_in(process, folder):
    try:
        return (process / "cwd").resolve() == folder and "dask-em" in (process / "cmdline").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(("names", "rank", "size"), [("OMPI_COMM_WORLD", 1, 4), ("PMI", 0, 1), ("PMI", 1, 2)])
def test_and_one_speaks(monkeypatch, names, rank, size):
    monkeypatch.setenv(f"{names}_SIZE", str(size))
    for each in range(size):
        monkeypatch.setenv(f"{names}_RANK", str(each))
        assert speaks() == (each == rank)
    assert command() == (["mpirun", "-n", str(size)] if size > 1 else [])
