"""Google's and Microsoft's stores have no server that runs here: what is tested is what their libraries are given."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from dask_em.storage.folder import folder_at
from dask_em.storage.location import Location


@pytest.mark.parametrize(
    ("url", "module", "name", "options", "path"),
    [
        ("gs://bucket/rows.zarr", "gcsfs", "GCSFileSystem", {"token": "anon", "project": "mine"}, "bucket/rows.zarr"),
        ("gcs://bucket/a/b.parquet", "gcsfs", "GCSFileSystem", {"token": "anon"}, "bucket/a/b.parquet"),
        ("az://box/rows.zarr", "adlfs", "AzureBlobFileSystem", {"account_name": "me", "anon": True}, "box/rows.zarr"),
        (
            "abfs://box/a/b.npy",
            "adlfs",
            "AzureBlobFileSystem",
            {"account_name": "me", "account_key": "aHVzaA=="},
            "box/a/b.npy",
        ),
    ],
)
def test_with_the_options_that_are_given(
    url: str, module: str, name: str, options: dict[str, Any], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip(module, reason=f"{module} is not installed")
    made: list[dict[str, Any]] = []
    cls = getattr(library, name)

    def init(self: Any, *given: Any, **named: Any) -> None:
        made.append(named)

    monkeypatch.setattr(cls, "__init__", init)
    cls.clear_instance_cache()
    try:
        location = Location.of(url, options)
        assert type(location.filesystem) is cls
        assert made == [options]
        assert location.path == path
        assert not location.local
        assert str(folder_at(url, options).child("x")) == f"{url}/x"
        assert "aHVzaA==" not in repr(location)
    finally:
        cls.clear_instance_cache()


@pytest.mark.parametrize(
    ("module", "name"), [("gcsfs.core", "GCSFileSystem"), ("adlfs", "AzureBlobFileSystem"), ("s3fs", "S3FileSystem")]
)
def test_and_each_can_write_where_nothing_is(module: str, name: str) -> None:
    """A lock needs that: ``mode="create"`` is what fsspec calls it."""
    library = pytest.importorskip(module, reason=f"{module} is not installed")
    import inspect

    source = inspect.getsource(importlib.import_module(library.__name__)) + inspect.getsource(getattr(library, name))
    assert '"create"' in source
