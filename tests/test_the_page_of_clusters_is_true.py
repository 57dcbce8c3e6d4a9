import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from dask_em.config import load_config
from dask_em.execution.kinds import KINDS, Kind

PAGE = (Path(__file__).parent.parent / "docs/clusters.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def row(name: str, kind: Kind) -> str:
    def words(keys: Iterable[str]) -> str:
        return ", ".join(f"`{key}`" for key in keys) or "-"

    library = f"`dask-em[{kind.extra}]`" if kind.extra else "-"
    return f"| `{name}` | {kind.what} | {words(kind.needs)} | {words(sorted(kind.knows - {*kind.needs}))} | {library} |"


def test_in_its_table_of_kinds() -> None:
    assert [line for line in PAGE.splitlines() if re.match(r"\| `\w+` \|", line)] == [
        row(name, kind) for name, kind in KINDS.items()
    ]


@pytest.mark.parametrize("block", BLOCKS)
def test_in_its_configs(block: str, tmp_path: Path) -> None:
    whole = {"data": {"source": "rows.zarr"}, "model": {"components": 2}, "output": {"directory": "run"}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(whole) + block)
    assert load_config(path).cluster.kind == yaml.safe_load(block)["cluster"]["kind"]


@pytest.mark.parametrize("path", re.findall(r"(?:configs|scripts|dask_em|tests)/[\w./-]+\w", PAGE))
def test_and_the_paths_it_names(path: str) -> None:
    assert (Path(__file__).parent.parent / path).exists()
