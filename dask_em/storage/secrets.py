"""What no copy of a config, no log and no report may tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = [
    "HIDDEN",
    "holds_secrets",
    "secrets_of",
    "told_without",
    "without_assigned",
    "without_credentials",
    "without_secrets",
    "without_words",
]

HIDDEN = "***"
PUBLIC = frozenset(
    {
        "account_name", "aws_endpoint", "aws_region", "bucket", "endpoint", "endpoint_override", "endpoint_url",
        "project", "protocol", "region", "region_name", "scheme",
    }
)  # fmt: skip
SHORTEST = 4  # characters of a text that can be looked for in messages
# What a URL says of a user: up to the @ before the path; or, after a name and a colon, a password with slashes in it,
# where that is no port.
_USER = re.compile(r"://(?:[^/?#@\s]*|[^/?#@:]+:(?!\d+/)[^?#@\s]*)@")
_ASSIGNED = re.compile(r"""(\b[A-Z0-9_]*(?:KEY|SECRET|TOKEN|PASSW|CREDENTIAL)[A-Z0-9_]*=)("[^"]*"|'[^']*'|[^\s"']+)""")


def holds_secrets(key: str) -> bool:
    """Say whether the values of a config's key, given by its full path, may be secrets."""
    secret = ("data.storage_options", "output.storage_options", "cluster.kwargs")
    return key.startswith(secret) or any(each.startswith(f"{key}.") for each in secret)


def without_credentials(url: str) -> str:
    """Hide what a URL says of a user, and its query, which may be a signature."""
    hidden = _USER.sub(f"://{HIDDEN}@", url)
    return re.sub(r"(://[^?]*)\?.*", rf"\1?{HIDDEN}", hidden)


def without_assigned(script: str) -> str:
    """Hide what a script gives to variables of the environment whose names tell that it is a secret."""
    return _ASSIGNED.sub(rf"\1{HIDDEN}", script)


def told_without(error: BaseException, options: Any) -> str:
    """Return what an error says, in one line, without credentials and without what ``options`` hide."""
    return without_words(without_credentials(" ".join(str(error).split())), secrets_of(options))


def without_words(text: str, words: Iterable[str]) -> str:
    """Hide words of a text, such as those of :func:`secrets_of`."""
    for word in words:
        text = text.replace(word, HIDDEN)
    return text


def without_secrets(value: Any, key: str = "") -> Any:
    """Hide every text of (nested) options whose key is not known to be harmless; numbers and truth values stay."""
    if isinstance(value, Mapping):
        return {name: without_secrets(item, str(name)) for name, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [without_secrets(item, key) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return without_credentials(str(value)) if key in PUBLIC else HIDDEN


def secrets_of(value: Any, key: str = "") -> Iterator[str]:
    """Yield every text of (nested) options that :func:`without_secrets` hides, and no message holds by chance."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from secrets_of(item, str(name))
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for item in value:
            yield from secrets_of(item, key)
    elif isinstance(value, str) and key not in PUBLIC and len(value) >= SHORTEST:
        yield value
