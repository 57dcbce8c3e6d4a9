"""The types that the keys of all sections share."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dask_em.storage.secrets import HIDDEN

__all__ = ["ONE", "SEVERAL", "STRICT", "Count", "Options", "Size", "Text", "several"]

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Size = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]+)? ?([kKMGT]i?)?B|auto)$")]
ONE, SEVERAL = "one", "several"


def several(value: object) -> str:
    """Say which of two forms of a key is given, so that a fault is told of that form alone."""
    return SEVERAL if isinstance(value, list | tuple | dict | BaseModel) else ONE


def _with_its_secrets(options: dict[str, Any]) -> dict[str, Any]:
    if HIDDEN in json.dumps(options, default=str):
        raise ValueError(
            f"holds {HIDDEN!r}, as copies of a config do, which leave secrets out; put the values back or "
            "take them from the environment"
        )
    return options


Options = Annotated[dict[str, Any], AfterValidator(_with_its_secrets)]
