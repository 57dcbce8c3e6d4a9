"""What no copy of a config, no log and no report may tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["HIDDEN", "holds_secrets", "without_credentials", "without_secrets"]

HIDDEN = "***"
PUBLIC = frozenset({"endpoint_url", "endpoint_override", "region", "region_name", "protocol", "scheme"})


def holds_secrets(key: str) -> bool:
    """Say whether the values of a config's key, given by its full path, may be secrets."""
    secret = ("data.storage_options", "output.storage_options", "cluster.kwargs")
    return key.startswith(secret) or any(each.startswith(f"{key}.") for each in secret)


def without_credentials(url: str) -> str:
    """Hide what a URL says of a user, and its query, which may be a signature."""
    hidden = re.sub(r"://[^/?#@]*@", f"://{HIDDEN}@", url)
    return re.sub(r"(://[^?]*)\?.*", rf"\1?{HIDDEN}", hidden)


def without_secrets(value: Any, key: str = "") -> Any:
    """Hide every text of (nested) options whose key is not known to be harmless; numbers and truth values stay."""
    if isinstance(value, Mapping):
        return {name: without_secrets(item, str(name)) for name, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [without_secrets(item, key) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return without_credentials(str(value)) if key in PUBLIC else HIDDEN
