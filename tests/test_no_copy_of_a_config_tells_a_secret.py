from pathlib import Path

import pytest
import yaml

from dask_em.config import dump_config, load_config
from dask_em.errors import ConfigError

TEXT = """
data:
  source: {source}
  storage_options:
    key: hush
    secret: [hush, hush]
    anon: false
    endpoint_url: https://me:hush@store.example:9000/
    client_kwargs: {{region_name: here, aws_session_token: hush}}
model: {{components: 2}}
output: {{directory: runs/here}}
"""


def write(folder: Path, source: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(TEXT.format(source=source))
    return path


@pytest.mark.parametrize(
    "source",
    [
        "s3://bucket/rows.zarr",
        "https://me:hush@store.example/rows.zarr",
        "https://store.example/rows.zarr?signature=hush",
        "simplecache::https://me:hush@store.example/rows.zarr?signature=hush",
    ],
)
def test_of_its_source_or_options(tmp_path: Path, source: str) -> None:
    copy = dump_config(load_config(write(tmp_path, source)))
    assert "hush" not in copy
    options = yaml.safe_load(copy)["data"]["storage_options"]
    assert options["anon"] is False
    assert options["client_kwargs"] == {"region_name": "here", "aws_session_token": "***"}
    assert options["endpoint_url"] == "https://***@store.example:9000/"


def test_in_the_message_about_an_override(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, "x"), ["data.storage_options.key=[hush", "data.storage_options=hush"])
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    [
        "data.spool=s3://me:hush@bucket/rows.npy",
        "data.spool=s3://me:hu/sh/hush@bucket/rows.npy",
        "data.source=[s3://me:hush@bucket/rows.zarr]",
        "output.directory={a: s3://me:hush@bucket/run}",
        "cluster.kind=https://me:hush@gateway",
    ],
)
def test_in_the_message_about_a_url(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, "x"), [override])
    assert "***@" in str(caught.value)
    assert "hush" not in str(caught.value).replace(str(tmp_path), "")


def test_and_a_copy_is_refused_until_they_are_put_back(tmp_path: Path) -> None:
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump_config(load_config(write(tmp_path, "x"))))
    with pytest.raises(ConfigError, match="data.storage_options holds .* put the values back"):
        load_config(copy)


def test_and_a_copy_without_them_is_the_same_config(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "/data/x.zarr"), ["data.storage_options={}", "output.directory=/runs/x"])
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump_config(config))
    assert load_config(copy) == config


def test_and_it_holds_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tree = yaml.safe_load(dump_config(load_config(write(tmp_path, "parts/*.parquet"))))
    assert tree["data"]["source"] == str(tmp_path / "parts/*.parquet")
    assert tree["output"]["directory"] == str(tmp_path / "runs/here")
