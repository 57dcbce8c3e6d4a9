"""What is wrong in a config: a sentence for each fault, with its place, what was given and what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from dask_em.config.places import Security
from dask_em.config.tree import COMING, SECTIONS, Config, keys
from dask_em.errors import did_you_mean
from dask_em.storage.secrets import holds_secrets, without_credentials

__all__ = ["sentence"]

_COMING_VALUES = {
    "data.missing": ("drop", "marginalize"),
}
_PARTS: dict[str, type[BaseModel]] = {**SECTIONS, "cluster.security": Security}
_FORMS = {"cluster.class": "module:Class, such as coiled:Cluster", "cluster.walltime": "HH:MM:SS, such as 04:00:00"}
_SIZES = {"cluster.memory_limit", "cluster.resident"}
_OF_SCIKIT_LEARN = {
    "covariance_type": "model.covariance",
    "init_params": "fit.start",
    "max_iter": "fit.max_passes",
    "n_components": "model.components",
    "n_init": "fit.restarts",
    "random_state": "fit.seed",
    "reg_covar": "model.regularization",
    "tol": "fit.tolerance",
}
_ALLOWED = {
    "bool_type": "true or false",
    "dict_type": "a section of keys",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "model_type": "a section of keys",
    "none_required": "left out",
    "string_pattern_mismatch": "a size such as 2GiB, 600MB, 0B or auto",
    "string_too_short": "text that is not empty",
    "string_type": "text",
    "too_short": "a list that names at least one",
    "tuple_type": "a list",
}


def sentence(path: str, fault: Mapping[str, Any], file: str, places: Mapping[str, str]) -> str:
    """Return what is wrong at a key, and where: in the file, or in the override that ``places`` names."""
    place = next((told for at, told in places.items() if f"{path}.".startswith(f"{at}.")), file)
    kind, value = fault["type"], fault["input"]
    if kind == "string_pattern_mismatch" and path in _FORMS:
        return f"{place}: {path} is {_shown(value)}; it must be {_FORMS[path]}"
    if kind == "string_type" and path in _SIZES:  # 0 is no text, and text alone is no size
        kind = "string_pattern_mismatch"
    if kind == "extra_forbidden":
        return f"{place}: unknown key {path}.{_nearest(path)}"
    if kind == "missing":
        return f"{place}: {path} is missing; give {_meaning(path)}"
    if kind == "value_error":
        text = str(fault["ctx"]["error"])
        return f"{place}: {text}" if path in {"", "cluster"} else f"{place}: {path} {text}"
    allowed = (
        _ALLOWED[kind].format_map(fault.get("ctx", {})).replace("False", "false") if kind in _ALLOWED else fault["msg"]
    )
    if holds_secrets(path):  # whose values no message may repeat
        return f"{place}: {path} must be {allowed}"
    if _is_coming(path, value):
        return f"{place}: {path} is {_shown(value)}, which this version of dask_em cannot do yet; it must be {allowed}"
    return f"{place}: {path} is {_shown(value)}; it must be {allowed}"


def _meaning(path: str) -> str:
    """Return the first clause of what a key or section stands for."""
    section, _, key = path.rpartition(".")
    told = _PARTS[path].__doc__ if path in _PARTS else _PARTS[section].model_fields[key].description
    clause = re.split(r"[.:] ?", told or "")[0]
    return clause[0].lower() + clause[1:]


def _is_coming(path: str, value: object) -> bool:
    """Say whether a later version will take this."""
    section, _, key = path.partition(".")
    field = SECTIONS[section].model_fields.get(key)
    return value in _COMING_VALUES.get(path, ()) or (field is not None and field.description == COMING)


def _nearest(path: str) -> str:
    section, _, key = path.rpartition(".")
    if key in _OF_SCIKIT_LEARN:
        return did_you_mean(_OF_SCIKIT_LEARN[key], [_OF_SCIKIT_LEARN[key]])
    if not section:
        return did_you_mean(key, Config.model_fields)
    every = keys()
    siblings = [full for full in every if full.startswith(f"{section}.")]
    exact = [full for full in every if every[full] == key]
    for known in (exact, siblings, list(every)):  # a key of its section before a like one of another
        close = get_close_matches(key, [every[full] for full in known], n=1)
        if close:
            return did_you_mean(next(full for full in known if every[full] == close[0]), known)
    return f" Known: {', '.join(siblings)}."


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a section"
    return without_credentials(repr(value) if isinstance(value, str) else json.dumps(value, default=str))
