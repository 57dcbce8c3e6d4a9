import re
from pathlib import Path

import pytest
import yaml
import zarr
import zarr.storage

from dask_em.config import load_config

PAGE = (Path(__file__).parents[2] / "docs/object-stores.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"))
def test_as_python(code, store, shapes, capsys):
    zarr.create_array(zarr.storage.FsspecStore.from_url("s3://measurements/rows.zarr"), data=shapes, chunks=(500, 3))
    exec(compile(code, "object-stores.md", "exec"), {})
    assert "onverged" in capsys.readouterr().out


@pytest.mark.parametrize("text", blocks("yaml"))
def test_as_a_config(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    config = load_config(tmp_path / "config.yaml")
    assert set(yaml.safe_load(text)) <= set(type(config).model_fields)


def test_and_its_figures_are_those_of_the_code():
    from dask_em.storage import folder, retrying

    assert f"up to {['eight'][retrying.TRIES - 8]} times" in PAGE
    assert f"grow to {retrying.PAUSE_MOST:.0f} seconds" in PAGE.replace("\n", " ")
    assert f"every {['five'][int(folder.DESK_SECONDS) - 5]} seconds" in PAGE
