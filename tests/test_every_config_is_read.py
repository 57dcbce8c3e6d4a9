import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from dask_em.config import json_schema, load_config

CONFIGS = Path(__file__).parent.parent / "configs"
ALL = sorted(CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_by_the_program(path: Path) -> None:
    load_config(path)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_by_editors(path: Path) -> None:
    schema = json.loads((CONFIGS / "schema.json").read_text())
    jsonschema.validate(yaml.safe_load(path.read_text()), schema)
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")


def test_and_the_committed_schema_is_current() -> None:
    committed = json.loads((CONFIGS / "schema.json").read_text())
    assert committed == json.loads(json_schema()), "write it anew: .venv/bin/dask-em schema > configs/schema.json"


def test_and_editors_refuse_what_the_program_refuses() -> None:
    tree = yaml.safe_load((CONFIGS / "quickstart.yaml").read_text())
    tree["fit"]["tolerence"] = 1
    with pytest.raises(jsonschema.ValidationError, match="tolerence"):
        jsonschema.validate(tree, json.loads(json_schema()))
