"""Two worker processes of one thread each, started once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from distributed import Client

from dask_em.execution.cluster import ClusterSettings, connect


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    with connect(ClusterSettings("local", workers=2, memory_limit="2GiB")) as client:
        yield client


@pytest.fixture
def default_client(client: Client) -> Iterator[Client]:
    """The same client as the one that Dask's own functions find."""
    with client.as_current():
        yield client
