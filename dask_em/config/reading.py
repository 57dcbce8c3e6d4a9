"""A config from a file and overrides, and back to YAML without its secrets."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dask_em.config.sentences import sentence
from dask_em.config.tree import Config, keys
from dask_em.config.words import ONE, SEVERAL
from dask_em.errors import ConfigError
from dask_em.storage.folder import file_at
from dask_em.storage.secrets import holds_secrets, without_credentials, without_secrets

__all__ = ["dump_config", "json_schema", "kind_named", "load_config"]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a config from a path or URL, with ``section.key=value`` overrides whose values are read as YAML.

    Raises
    ------
    ConfigError
        The file cannot be read or says something that cannot be: a sentence for each fault.
    """
    tree = _read(str(path))
    places = dict(_override(tree, override) for override in overrides)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        faults = {_place(fault["loc"]): fault for fault in error.errors(include_url=False)}
        deepest = [at for at in faults if not any(other.startswith(f"{at}.") for other in faults)]
        name = without_credentials(str(path))
        raise ConfigError("\n".join(sentence(at, faults[at], name, places) for at in deepest)) from None


def kind_named(path: str | Path, overrides: Sequence[str] = ()) -> str | None:
    """Return the kind of cluster that a config names, whatever else is wrong with it; None: it cannot be read."""
    try:
        tree = _read(str(path))
        for override in overrides:
            _override(tree, override)
    except ConfigError:
        return None
    cluster = tree.get("cluster")
    return str(cluster.get("kind")) if isinstance(cluster, dict) else ""


def _place(parts: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in parts if part not in (ONE, SEVERAL))


def dump_config(config: Config) -> str:
    """Return a config as YAML, complete, with absolute paths and without secrets."""
    tree = config.model_dump(mode="json", by_alias=True)
    tree["data"]["source"] = _absolute(without_credentials(tree["data"]["source"]))
    tree["data"]["storage_options"] = without_secrets(config.data.storage_options)
    tree["output"]["directory"] = _absolute(without_credentials(tree["output"]["directory"]))
    tree["output"]["storage_options"] = without_secrets(config.output.storage_options)
    if tree["data"]["spool"]:
        tree["data"]["spool"] = _absolute(without_credentials(tree["data"]["spool"]))
    tree["cluster"]["kwargs"] = without_secrets(config.cluster.kwargs)
    if tree["cluster"]["address"]:
        tree["cluster"]["address"] = without_credentials(tree["cluster"]["address"])
    return str(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def json_schema() -> str:
    """Return the JSON schema of configs, for editors."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Config.model_json_schema()
    return json.dumps(schema, indent=2) + "\n"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain scalars: 1e-4 is a number, ``on`` is text; a key given twice is refused."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # PyYAML's own name

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


for _tag, _pattern in {
    "null": r"^(null|Null|NULL|~|)$",
    "bool": r"^(true|True|TRUE|false|False|FALSE)$",
    "int": r"^[-+]?[0-9]+$",
    "float": r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$",
}.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), None)


def _read(path: str) -> dict[str, Any]:
    name = without_credentials(path)
    try:
        folder, file_name = file_at(path)
        with folder.reading(file_name) as file:
            text = file.read().decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror or "there is none" if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the config {name}: {why}; give the path of a YAML file") from None
    tree = _parse(text, name)
    if not isinstance(tree, dict):
        raise ConfigError(f"{name} holds no sections; a config has the sections {', '.join(Config.model_fields)}")
    return tree


def _parse(text: str, place: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{place}, line {mark.line + 1}, column {mark.column + 1}" if mark else place
        raise ConfigError(f"{where} is not valid YAML: {error.problem}; mend it there") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{place} is not valid YAML: {' '.join(str(error).split())}; mend it there") from None


def _override(tree: dict[str, Any], override: str) -> tuple[str, str]:
    """Put an override into the tree; return its path, and how messages name it: without the value of an option."""
    path, equals, text = (part.strip() for part in override.partition("="))
    place = f"--set {path if holds_secrets(path) else without_credentials(override)}"
    *parents, key = path.split(".")
    if not equals or not key or not (parents or key in Config.model_fields):
        raise ConfigError(f"{place} is no override; write it as section.key=value, such as fit.seed=1")
    for parent in parents:
        if tree.get(parent) is None:
            tree[parent] = {}
        tree = tree[parent]
        if not isinstance(tree, dict):
            raise ConfigError(f"{place}: {parent} holds no keys; known are {', '.join(keys())}")
    tree[key] = _parse(text, place)
    return path, place


def _absolute(source: str) -> str:
    if "://" in source or source.startswith("example:"):
        return source
    return os.path.abspath(os.path.expanduser(source))  # noqa: PTH100, PTH111  # a glob is no Path to resolve
