"""The one place where storage imports by name, late: a worker pays only for the formats that it reads."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["member"]


def member(module: str, name: str) -> Any:
    """Return a member of a module of this folder.

    Importing pandas, Arrow and scikit-learn into a worker that reads Zarr would cost it over 100 MB for nothing.
    """
    return getattr(importlib.import_module(f"dask_em.storage.{module}"), name)
