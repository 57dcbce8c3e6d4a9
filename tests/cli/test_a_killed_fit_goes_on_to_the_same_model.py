"""However a fit is stopped or killed, at whatever moment: it goes on to the same model, with one pass made twice."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from dask_em.driver import Checkpoints
from tests.cli.runs import line_to_type, told

PASSES = 30
CONFIG = f"""
data: {{source: rows.zarr}}
model: {{components: 4, covariance: diag}}
fit: {{tolerance: 0, max_passes: {PASSES}, start: random_from_data, restarts: 2}}
output: {{directory: runs/big}}
"""
PROGRAM = str(Path(sys.executable).with_name("dask-em"))
KILLS_ITSELF = """
import os, sys
from pathlib import Path
from dask_em.cli import main

replace, left = Path.replace, [int(sys.argv.pop(1))]

def kill(self, target):
    left[0] -= "checkpoint-" in Path(target).name
    if left[0] == 0:
        os.kill(os.getpid(), 9)
    return replace(self, target)

Path.replace = kill
main()
"""


@pytest.fixture
def big(folder: Path) -> Path:
    """A config of a fit that takes long enough to be stopped in its midst."""
    random = np.random.default_rng(1)
    rows = random.normal(size=(40_000, 4)) + 2 * random.integers(4, size=(40_000, 1))
    zarr.create_array("rows.zarr", data=rows.astype(np.float32), chunks=(2_500, 4))
    Path("big.yaml").write_text(CONFIG)
    return folder / "runs/big"


@pytest.fixture
def undisturbed(big: Path, call: Callable[..., Any]) -> Any:
    """What comes of a fit that nobody stops."""
    done = call(["fit", "big.yaml", "--set", "output.directory=runs/undisturbed"])
    assert done.exit_code == 0, done.output
    return told(Path("runs/undisturbed"))


def start(*words: str, said: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a program that hears Ctrl-C and SIGHUP, though the one that runs the tests may be deaf to them."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        return subprocess.Popen(words, stderr=said, text=True, start_new_session=True)
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def until_pass(process: subprocess.Popen[str], number: int) -> None:
    """Wait until a pass is told."""
    assert process.stderr is not None
    said = []
    while line := process.stderr.readline():
        said.append(line)
        if line.startswith(f"pass {number:3d}"):
            return
    pytest.fail(f"no pass {number}: {''.join(said)}")


def most_repeated(run: Path) -> int:
    """Return how many passes too many were made."""
    made = Counter(re.findall(r"pass +(\d+)  restart +(\d+)  objective", (run / "fit.log").read_text()))
    return max(Counter(restart for (_, restart), count in made.items() for _ in range(count - 1)).values(), default=0)


def finished(call: Any, run: Path, undisturbed: Any, ends: int) -> None:
    """Go on with a fit that has ended early so many times, and compare."""
    done = call(["fit", "big.yaml", *resume(run)])
    assert done.exit_code == 0, done.output
    assert told(run) == undisturbed
    assert most_repeated(run) <= ends
    assert not [path for path in run.rglob(".*") if path.is_file()], "what a kill left is cleaned up"


def resume(run: Path) -> list[str]:
    return ["--resume"] if Checkpoints(run / "checkpoints").names() else []


@pytest.mark.chaos
def test_by_the_line_that_it_prints_when_it_is_stopped(big: Path, call: Any, undisturbed: Any) -> None:
    options = ["--set", "fit.max_passes=1000", "--set", "output.log=json"]
    line = [PROGRAM, "fit", "big.yaml", *options]
    ends = (signal.SIGINT, 130, "Ctrl-C", 3), (signal.SIGTERM, 143, "SIGTERM", 9), (signal.SIGHUP, 129, "SIGHUP", 12)
    for number, status, name, at in ends:
        process = start(*line)
        until_pass(process, at)
        process.send_signal(number)
        _, said = process.communicate()
        assert process.returncode == status
        assert "Traceback" not in said
        assert said.splitlines()[-1] == f"stopped by {name}"
        line = line_to_type(said)
        assert line == [PROGRAM, "fit", "big.yaml", *options, "--resume"]
        assert f"stopped by {name}; to go on: " in (big / "fit.log").read_text().splitlines()[-1]
        reached = Checkpoints(big / "checkpoints").newest()
        assert reached is not None
        assert at <= reached.passes < PASSES, "the fit of the test takes too short a time"
    finished(call, big, undisturbed, 3)


@pytest.mark.chaos
def test_whose_terminal_is_closed(big: Path, call: Any, undisturbed: Any) -> None:
    ours, its = pty.openpty()
    process = start(PROGRAM, "fit", "big.yaml", said=its)
    os.close(its)
    shown = b""
    while b"pass   3" not in shown:
        shown += os.read(ours, 1024)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 129
    assert "stopped by SIGHUP; to go on: " in (big / "fit.log").read_text().splitlines()[-1]
    finished(call, big, undisturbed, 1)


@pytest.mark.chaos
def test_killed_at_random_moments(big: Path, call: Any, undisturbed: Any) -> None:
    random = np.random.default_rng()
    for kills in range(1, 4):
        process = start(PROGRAM, "fit", "big.yaml", *resume(big))
        until_pass(process, int(8 * kills + random.integers(0, 6)))
        time.sleep(random.uniform(0, 0.02))
        process.kill()
        process.communicate()
    finished(call, big, undisturbed, 3)


@pytest.mark.chaos
@pytest.mark.slow
def test_killed_at_any_moment(big: Path, call: Any, undisturbed: Any) -> None:
    random, began = np.random.default_rng(), time.monotonic()
    start(PROGRAM, "fit", "big.yaml").communicate()
    whole, kills = time.monotonic() - began, 0
    while kills < 20:
        shutil.rmtree(big, ignore_errors=True)
        since = kills
        while kills < since + 5 and not (big / "model.npz").exists():
            process = start(PROGRAM, "fit", "big.yaml", *resume(big))
            time.sleep(random.uniform(whole / 3, whole))
            process.kill()
            process.communicate()
            kills += 1
        finished(call, big, undisturbed, kills - since)


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 7])
def test_killed_before_a_checkpoint_has_its_name(big: Path, call: Any, undisturbed: Any, number: int) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLS_ITSELF, str(number), "fit", "big.yaml"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path for path in (big / "checkpoints").iterdir() if path.name.startswith(".checkpoint-")]
    finished(call, big, undisturbed, 1)


@pytest.mark.chaos
@pytest.mark.clusters
@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_on_a_cluster(big: Path, call: Any, undisturbed: Any, number: int, status: int) -> None:
    cluster = ["--set", "cluster.kind=local", "--set", "cluster.workers=1"]
    process = start(PROGRAM, "fit", "big.yaml", *cluster)
    until_pass(process, 3)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does, to the workers too
    else:
        process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == status, said
    assert "Traceback" not in said
    assert line_to_type(said) == [PROGRAM, "fit", "big.yaml", *cluster, "--resume"]
    finished(call, big, undisturbed, 1)
