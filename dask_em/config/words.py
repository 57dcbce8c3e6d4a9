"""The types that the keys of all sections share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ONE", "SEVERAL", "STRICT", "Count", "Size", "Text", "several"]

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Size = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]+)? ?([kKMGT]i?)?B|auto)$")]
ONE, SEVERAL = "one", "several"


def several(value: object) -> str:
    """Say which of two forms of a key is given, so that a fault is told of that form alone."""
    return SEVERAL if isinstance(value, list | tuple | dict | BaseModel) else ONE
