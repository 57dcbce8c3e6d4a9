"""The typed tree behind the YAML: data, model, fit, cluster, output. What is wrong in it is told in one sentence each.

Keys that later versions fill with life are known here already: their types allow what this version can do.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dask_em.errors import ConfigError, did_you_mean
from dask_em.storage.secrets import HIDDEN, without_credentials, without_secrets

__all__ = ["Cluster", "Config", "Data", "Fit", "Model", "Output", "dump_config", "json_schema", "load_config"]

COMING = "Not in this version."
_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Size = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]+)? ?([kKMGT]i?)?B|auto)$")]


class Data(BaseModel):
    """Which rows to fit."""

    model_config = _STRICT
    source: Text = Field(
        description="A path, a glob, a URL or an example (example:photo-patches). "
        "Relative paths start at the directory that the command is run in."
    )
    format: Literal["zarr", "parquet", "npy"] | None = Field(
        None, description="The kind of storage; null: told from the source."
    )
    array: Text | None = Field(None, description="The array's path inside a Zarr group.")
    columns: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)] | None = Field(
        None, description="The names of the columns to use; null: all of them."
    )
    feature_axis: int | None = Field(
        None, description="The axis of an N-dimensional array that holds the features; null: the last."
    )
    rows_per_atom: Count | None = Field(
        None, description="Rows per unit of reading, for storage that has no unit of its own (.npy)."
    )
    weights: Text | None = Field(None, description="The column that holds each row's weight; null: all weigh 1.")
    missing: Literal["error"] = Field("error", description="What to do about NaN: refuse the data.")
    missing_chunks: Literal["error", "fill"] = Field(
        "error", description="What to do about Zarr chunks that are not there: refuse, or read the fill value."
    )
    storage_options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the file system (fsspec). Secrets are left out of all copies."
    )
    ids: None = Field(None, description=COMING)
    spool: None = Field(None, description=COMING)

    @field_validator("storage_options")
    @classmethod
    def _has_its_secrets(cls, options: dict[str, Any]) -> dict[str, Any]:
        if HIDDEN in json.dumps(options, default=str):
            raise ValueError(
                f"holds {HIDDEN!r}, as copies of a config do, which leave secrets out; put the values back or "
                "take them from the environment"
            )
        return options


class Model(BaseModel):
    """What to fit."""

    model_config = _STRICT
    family: Literal["gaussian"] = Field("gaussian", description="The distribution of each component.")
    components: Count = Field(description="The number of components.")
    covariance: Literal["full", "tied", "diag", "spherical"] = Field(
        "full", description="Each its own matrix; one for all; each its own variances; each one variance."
    )
    regularization: float = Field(
        1e-6, ge=0, description="Added to the diagonal of each covariance, in squared units of the data."
    )
    precision: Literal["float64", "auto"] = Field(
        "float64", description="The arithmetic of products: auto takes float32 where it is accurate enough."
    )
    reseed: bool = Field(
        False,
        description="Move a component that empties or collapses to where the data is worst explained; "
        "false: keep it, and tell.",
    )


class Fit(BaseModel):
    """Where to start and when to stop."""

    model_config = _STRICT
    start: Literal["kmeans", "k-means++", "random", "random_from_data"] = Field(
        "kmeans", description="How the first parameters are found, on a uniform sample of the rows."
    )
    restarts: Count = Field(1, description="How many starts to try; all of them share each read of the data.")
    tolerance: float = Field(
        1e-3, ge=0, description="Stop when a pass changes what stop_on names by less than this (nats per row)."
    )
    stop_on: Literal["log_likelihood", "parameters"] = Field(
        "log_likelihood",
        description="The mean log-likelihood per row, or the largest relative change of the parameters.",
    )
    max_passes: Count = Field(100, description="Stop after this many reads of the data.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Fixes every random choice.")
    accelerate: Literal[False] = Field(False, description=COMING)
    max_minutes: None = Field(None, description=COMING)
    holdout: None = Field(None, description=COMING)
    select_by: None = Field(None, description=COMING)
    reproducible: Literal["warn"] = Field("warn", description="What to do when workers' arithmetic may differ.")
    checkpoint_every: None = Field(None, description=COMING)


class Cluster(BaseModel):
    """Where to compute."""

    model_config = _STRICT
    kind: Literal["none", "threads", "local", "address"] = Field(
        "threads",
        description="none or threads: the threads of this process, one per core; local: Dask workers started on this "
        "machine; address: a Dask scheduler that runs already.",
    )
    workers: Count | None = Field(None, description="Processes to start (local); null: one per core.")
    threads_per_worker: Count = Field(1, description="Threads of each process (local).")
    memory_limit: Size | None = Field(None, description="Memory of each process (local), such as 2GiB.")
    address: Text | None = Field(None, description="The scheduler's address (address), such as tcp://host:8786.")

    @model_validator(mode="after")
    def _address_fits_kind(self) -> Self:
        if self.kind == "address" and self.address is None:
            raise ValueError("cluster.address is missing; kind: address needs one, such as tcp://127.0.0.1:8786")
        if self.kind != "address" and self.address is not None:
            raise ValueError(
                f"cluster.address is given, but cluster.kind is {self.kind}; write kind: address to use it"
            )
        return self


class Output(BaseModel):
    """Where results go."""

    model_config = _STRICT
    directory: Text = Field(
        description="The run directory: config, model, history, picture and log. "
        "A relative one starts at the directory that the command is run in."
    )


class Config(BaseModel):
    """What a config file says."""

    model_config = _STRICT
    data: Data
    model: Model
    fit: Fit = Field(default_factory=Fit)
    cluster: Cluster = Field(default_factory=Cluster)
    output: Output


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a config, with ``section.key=value`` overrides whose values are read as YAML.

    Raises
    ------
    ConfigError
        The file cannot be read or says something that cannot be: a sentence for each fault.
    """
    tree = _read(Path(path))
    places = dict(_override(tree, override) for override in overrides)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        faults = {".".join(map(str, fault["loc"])): fault for fault in error.errors(include_url=False)}
        deepest = [at for at in faults if not any(other.startswith(f"{at}.") for other in faults)]
        raise ConfigError("\n".join(_sentence(at, faults[at], str(path), places) for at in deepest)) from None


def dump_config(config: Config) -> str:
    """Return a config as YAML, complete, with absolute paths and without secrets."""
    tree = config.model_dump(mode="json")
    tree["data"]["source"] = _absolute(without_credentials(tree["data"]["source"]))
    tree["data"]["storage_options"] = without_secrets(config.data.storage_options)
    tree["output"]["directory"] = _absolute(tree["output"]["directory"])
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


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the config {path}: {why}; give the path of a YAML file") from None
    tree = _parse(text, str(path))
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds no sections; a config has the sections {', '.join(Config.model_fields)}")
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
    place = f"--set {path if 'storage_options' in path else override}"
    *parents, key = path.split(".")
    if not equals or not parents or not key:
        raise ConfigError(f"{place} is no override; write it as section.key=value, such as fit.seed=1")
    for parent in parents:
        if tree.get(parent) is None:
            tree[parent] = {}
        tree = tree[parent]
        if not isinstance(tree, dict):
            raise ConfigError(f"{place}: {parent} holds no keys; known are {', '.join(_keys())}")
    tree[key] = _parse(text, place)
    return path, place


def _keys() -> dict[str, str]:
    """Return every key by its full path, with its last part."""
    return {f"{name}.{key}": key for name, section in _SECTIONS.items() for key in section.model_fields}


_SECTIONS: dict[str, type[BaseModel]] = {"data": Data, "model": Model, "fit": Fit, "cluster": Cluster, "output": Output}
_COMING_VALUES = {
    "data.missing": ("drop", "marginalize"),
    "fit.reproducible": ("strict",),
}
_ALLOWED = {
    "bool_type": "true or false",
    "dict_type": "a section of keys",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than_equal": "at least {ge}",
    "int_type": "a whole number",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "model_type": "a section of keys",
    "none_required": "left out",
    "string_pattern_mismatch": "a size such as 2GiB, 600MB or auto",
    "string_too_short": "text that is not empty",
    "string_type": "text",
    "too_short": "null or a list that names at least one",
    "tuple_type": "a list",
}


def _sentence(path: str, fault: Mapping[str, Any], file: str, places: Mapping[str, str]) -> str:
    place = next((told for at, told in places.items() if f"{path}.".startswith(f"{at}.")), file)
    kind, value = fault["type"], fault["input"]
    if kind == "extra_forbidden":
        return f"{place}: unknown key {path}.{_nearest(path)}"
    if kind == "missing":
        return f"{place}: {path} is missing; give {_meaning(path)}"
    if kind == "value_error":
        text = str(fault["ctx"]["error"])
        return f"{place}: {text}" if path == "cluster" else f"{place}: {path} {text}"
    allowed = (
        _ALLOWED[kind].format_map(fault.get("ctx", {})).replace("False", "false") if kind in _ALLOWED else fault["msg"]
    )
    if path.startswith("data.storage_options"):  # whose values no message may repeat
        return f"{place}: {path} must be {allowed}"
    if _is_coming(path, value):
        return f"{place}: {path} is {_shown(value)}, which this version of dask_em cannot do yet; it must be {allowed}"
    return f"{place}: {path} is {_shown(value)}; it must be {allowed}"


def _meaning(path: str) -> str:
    """Return the first clause of what a key or section stands for."""
    section, _, key = path.partition(".")
    told = _SECTIONS[section].model_fields[key].description if key else _SECTIONS[section].__doc__
    clause = re.split(r"[.:] ?", told or "")[0]
    return clause[0].lower() + clause[1:]


def _is_coming(path: str, value: object) -> bool:
    """Say whether a later version will take this."""
    section, _, key = path.partition(".")
    field = _SECTIONS[section].model_fields.get(key)
    return value in _COMING_VALUES.get(path, ()) or (field is not None and field.description == COMING)


def _nearest(path: str) -> str:
    section, _, key = path.rpartition(".")
    if not section:
        return did_you_mean(key, Config.model_fields)
    keys = _keys()
    siblings = [full for full in keys if full.startswith(f"{section}.")]
    exact = [full for full in keys if keys[full] == key]
    for known in (exact, siblings, list(keys)):  # a key of its section before a like one of another
        close = get_close_matches(key, [keys[full] for full in known], n=1)
        if close:
            return did_you_mean(next(full for full in known if keys[full] == close[0]), known)
    return f" Known: {', '.join(siblings)}."


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a section"
    return repr(value) if isinstance(value, str) else json.dumps(value, default=str)


def _absolute(source: str) -> str:
    if "://" in source or source.startswith("example:"):
        return source
    return os.path.abspath(os.path.expanduser(source))  # noqa: PTH100, PTH111  # a glob is no Path to resolve
