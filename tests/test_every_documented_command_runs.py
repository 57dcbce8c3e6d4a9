import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from typer.testing import CliRunner

from dask_em.cli.app import app
from dask_em.config import load_config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


COMMANDS = [
    words
    for block in blocks("bash")
    for line in block.splitlines()
    if (words := shlex.split(line, comments=True)) and words[0].startswith("scripts/")
]


@pytest.mark.parametrize("code", blocks("python"))
def test_as_python(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(code.splitlines()) <= 12
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_as_a_script(words):
    script = ROOT / words[0]
    assert script.stat().st_mode & 0o111, f"{script} must be executable"
    assert script.read_text().startswith("#!/usr/bin/env bash\n")


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] == "scripts/fit"], ids=" ".join)
def test_as_a_fit(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(400, 3))
    for name in ("measurements.zarr", "patches.zarr"):
        zarr.create_array(name, data=rows, chunks=(100, 3))
    _, config, *rest = words
    again = "--resume" in rest
    small = [f"--set={key}" for key in ("cluster.kind=threads", "fit.max_passes=2", "model.components=3")]
    source = [] if any("data.source" in word for word in rest) else ["--set=data.source=patches.zarr"]
    arguments = ["fit", str(ROOT / config), *rest, *source, *small]
    if again:
        begun = CliRunner().invoke(app, [*(word for word in arguments if word != "--resume"), "--set=fit.max_passes=1"])
        assert begun.exit_code == 0, begun.output
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("text", blocks("yaml"))
def test_as_a_config(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    config = load_config(tmp_path / "config.yaml")
    assert list(yaml.safe_load(text)) == list(type(config).model_fields)


@pytest.mark.parametrize("usage", re.findall(r"^\| `dask-em (.*?)` \|", README, re.MULTILINE))
def test_as_a_usage(usage):
    command, *words = usage.replace("\\", "").split()
    told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
    for word in words:
        name = word.strip("[].").partition("|")[0]
        assert name in told or name in ("a.b=c", ""), f"{name} in the help of {command}"


def test_and_the_map_shows_what_is_there():
    (shown,) = (block for block in blocks("") if "storage/" in block)
    named = set(re.findall(r"(?<=\s)([a-z]+(?:/|\.py))(?=\s)", shown))
    there = {
        path.name + "/" * path.is_dir()
        for path in (ROOT / "dask_em").iterdir()
        if path.suffix == ".py" or path.is_dir()
    }
    assert named <= there
    assert {name for name in there if not name.startswith("_")} - named <= {"errors.py", "testing.py"}


@pytest.mark.parametrize("path", re.findall(r"`((?:configs|scripts|runs)/[\w./-]+)|\]\(((?!http)[^)]+)\)", README))
def test_and_the_paths_it_names(path):
    (named,) = filter(None, path)
    assert named.startswith("runs/") or (ROOT / named).exists()


@pytest.mark.parametrize("folder", ["configs", "scripts", "docs"])
def test_and_it_names_all_that_is_for_users(folder):
    files = [f"{folder}/{path.name}" for path in (ROOT / folder).iterdir() if not path.name.startswith("_")]
    assert [name for name in files if not re.search(rf"{re.escape(name)}(?![\w-])", README)] == []
