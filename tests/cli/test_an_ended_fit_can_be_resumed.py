"""Whatever ended a fit, its line goes on with it; what is another fit, or somebody else's, is refused in a sentence."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from dask_em import load
from dask_em.cli.progress import Progress
from dask_em.driver import Checkpoints
from dask_em.storage import open_source
from tests.cli.runs import line_to_type, told

LONGER = ["fit", "config.yaml", "--set", "model.components=3"]  # takes more than a few passes


def files(run: Path, *but: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name not in but}


@contextmanager
def interrupted(number: int) -> Iterator[None]:
    """Let Ctrl-C be pressed when a pass is shown."""
    show = Progress.show

    def stop(self: Any, member: Any, entries: Any, state: Any) -> str:
        if len(entries) == number:
            raise KeyboardInterrupt
        return show(self, member, entries, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "show", stop)
        yield


def test_where_it_was_stopped_in_pass_0_there_is_nothing(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dask_em.estimators.starting.examine", stop)
    done = call(["fit", "config.yaml"])
    assert done.exit_code == 130
    assert done.stderr.splitlines() == ["nothing was reached yet that could be resumed", "stopped by Ctrl-C"]
    refused(call(["fit", "config.yaml", "--resume"]), "there is nothing to resume in runs/two: it has no checkpoint")


def refused(done: Any, sentence: str) -> None:
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr


def test_not_where_nothing_is(call: Any) -> None:
    refused(call(["fit", "config.yaml", "--resume"]), "there is nothing to resume in runs/two: it has no checkpoint")
    assert not Path("runs").exists()


def append(rows: Any) -> None:
    np.save("rows.npy", np.r_[rows, rows[:1]])


def shift(rows: Any) -> None:
    np.save("rows.npy", rows + 1)


@pytest.mark.parametrize(
    ("override", "change", "sentence"),
    [
        ("model.components=3", None, "the number of components is 3, and was 2 when the checkpoint was written"),
        ("fit.tolerance=1e-9", append, "the data has 1,001 rows, and had 1,000 when the checkpoint was written"),
        ("fit.tolerance=1e-9", shift, "the rows are others than when the checkpoint was written"),
        ("data.rows_per_atom=100", None, "the data is cut into other pieces than when the checkpoint was written"),
    ],
)
def test_not_where_it_is_another_fit(run: Path, call: Any, override: str, change: Any, sentence: str) -> None:
    if change is not None:
        change(np.load("rows.npy"))
    before = files(run, "fit.log", "lock")
    refused(call(["fit", "config.yaml", "--set", override, "--resume"]), sentence)
    assert files(run, "fit.log", "lock") == before
    assert sentence in (run / "fit.log").read_text()


def test_where_it_had_ended_it_tells_its_summary_again(run: Path, call: Any) -> None:
    before, text = told(run), call(["show", str(run)]).stdout
    log = (run / "fit.log").read_text()
    done = call(["fit", "config.yaml", "--resume"])
    assert done.exit_code == 0
    assert done.stderr == "the fit in runs/two has ended before, and no pass was left to make\n"
    assert text.splitlines()[1] in done.stdout
    assert told(run) == before
    assert (run / "fit.log").read_text().startswith(log)


@pytest.mark.parametrize("more", ["fit.max_passes=12", "fit.tolerance=1e-4"])
def test_where_it_had_ended_it_goes_on_when_more_is_asked_for(call: Any, more: str) -> None:
    less = "fit.max_passes=4" if "passes" in more else "fit.tolerance=1e-2"
    assert call([*LONGER, "--set", less]).exit_code == 0
    ended = load("runs/two/model.npz").n_iter_
    again = [*LONGER, "--set", more]
    assert call([*again, "--resume"]).exit_code == 0
    assert load("runs/two/model.npz").n_iter_ > ended
    assert more.rpartition("=")[2] in Path("runs/two/config.yaml").read_text().replace("0.0001", "1e-4")
    assert call([*again, "--set", "output.directory=runs/whole"]).exit_code == 0
    assert told(Path("runs/two")) == told(Path("runs/whole"))


def test_by_the_line_that_it_ends_with_where_a_limit_ended_it(call: Any) -> None:
    done = call([*LONGER, "--set", "fit.max_passes=4"])
    _, _, following = done.stdout.rpartition("next: ")
    words = shlex.split(following)[1:]
    assert words[-3:] == ["--set", "fit.max_passes=8", "--resume"]
    assert call(words).exit_code == 0
    assert load("runs/two/model.npz").n_iter_ > 4


def test_and_what_shows_a_model_says_so_where_none_was_reached(call: Any) -> None:
    with interrupted(3):
        assert call(LONGER).exit_code == 130
    done = call(["show", "runs/two"])
    assert done.exit_code == 2
    first, line = done.stderr.splitlines()
    assert first == "error: runs/two holds no model yet: its fit has not come to an end. To go on with it:"
    assert call(shlex.split(line)[1:]).exit_code == 0
    assert call(["show", "runs/two"]).exit_code == 0


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_not_while_another_fit_is_writing_there(run: Path, call: Any, resume: list[str]) -> None:
    with Checkpoints(run / "checkpoints").owned():
        before = files(run)
        done = call(["fit", "config.yaml", *resume])
        assert files(run) == before
    refused(done, f"another fit is writing to runs/two/checkpoints (process {os.getpid()} on ")
    assert call(["fit", "config.yaml", *resume]).exit_code == 0, "what it left does not block"


def test_from_the_checkpoint_before_where_the_newest_is_damaged(run: Path, call: Any) -> None:
    before = told(run)
    *_, older, newest = (run / "checkpoints" / name for name in Checkpoints(run / "checkpoints").names())
    newest.write_bytes(newest.read_bytes()[:-100])
    done = call(["fit", "config.yaml", "--resume"])
    assert done.exit_code == 0
    assert done.stderr.count("pass ") == 1
    assert told(run) == before
    log = (run / "fit.log").read_text()
    assert log.count(f"WARNING dask_em: a checkpoint is left out: {newest.relative_to(Path.cwd())}") == 1
    for name in Checkpoints(run / "checkpoints").names():
        (run / "checkpoints" / name).write_bytes(b"damaged")
    refused(call(["fit", "config.yaml", "--resume"]), "no checkpoint in runs/two/checkpoints is whole")
    assert older.exists()


@pytest.mark.parametrize("every", ["0", "3600"])
def test_with_the_last_pass_however_seldom_it_is_saved(call: Any, every: str) -> None:
    with interrupted(3):
        done = call([*LONGER, "--set", f"fit.checkpoint_every={every}"])
    assert done.exit_code == 130
    found = Checkpoints("runs/two/checkpoints").newest()
    assert found is not None
    assert found.passes == 3
    assert call(line_to_type(done.stderr)[1:]).exit_code == 0
    assert call([*LONGER, "--set", "output.directory=runs/whole"]).exit_code == 0
    assert told(Path("runs/two")) == told(Path("runs/whole"))


def test_after_it_was_moved_aside_too(call: Any) -> None:
    with interrupted(3):
        assert call(LONGER).exit_code == 130
    before = files(Path("runs/two"), "lock")
    done = call(LONGER)
    assert done.exit_code == 0
    assert "the unfinished run that was in runs/two is now in runs/two.1\nto go on with it instead:\n  " in done.stderr
    assert list(files(Path("runs/two.1"), "lock").values()) == list(before.values())
    assert call(line_to_type(done.stderr)[1:]).exit_code == 0
    assert told(Path("runs/two.1")) == told(Path("runs/two"))


def test_a_model_half_written_is_cleaned_up(run: Path, call: Any) -> None:
    (run / ".model.npz.abc").write_text("half")
    assert call(["fit", "config.yaml", "--resume"]).exit_code == 0
    assert not (run / ".model.npz.abc").exists()


def test_by_a_line_that_tells_no_secret(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_em.cli.fit.source_of", lambda data: open_source("rows.npy"))  # which takes no options
    secret = ["--set", " data.storage_options.key=hush", "--set", "data.storage_options.secret=hush"]
    with interrupted(1):
        done = call([*LONGER, *secret])
    assert done.exit_code == 130
    assert line_to_type(done.stderr)[-3:] == ["--set", "data.storage_options.secret=***", "--resume"]
    assert "hush" not in Path("runs/two/fit.log").read_text() + done.output


def test_nor_that_of_a_config_at_a_url(run: Path, call: Any) -> None:
    config = "memory://me:hush@there/config.yaml"
    with fsspec.open(config, "wb") as file:
        file.write(Path("config.yaml").read_bytes())
    with interrupted(1):
        done = call(["fit", config, "--set", "output.directory=runs/two"])
    assert done.exit_code == 130
    assert line_to_type(done.stderr)[2] == "memory://***@there/config.yaml"
    assert "hush" not in Path("runs/two/fit.log").read_text() + done.output
