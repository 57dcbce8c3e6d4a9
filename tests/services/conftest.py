from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import fsspec
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dask_em.cli.app import app


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # s3fs closes its connections when a file system is thrown away, which it does late: aiohttp warns of that
    late = pytest.mark.filterwarnings(
        "ignore:.*(ClientSession|TCPConnector|BaseConnector).*:pytest.PytestUnraisableExceptionWarning"
    )
    unclosed = pytest.mark.filterwarnings("ignore:(Unclosed|unclosed).*:ResourceWarning")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(late)
            item.add_marker(unclosed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Iterator[None]:
    """Close what is left open here, and not in a test of another folder, where aiohttp's warning would be an error."""
    yield
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        for kind in dict(fsspec.registry).values():
            kind.clear_instance_cache()
        for session in [each for each in gc.get_objects() if type(each) is aiohttp.ClientSession and not each.closed]:
            if session._loop.is_running():
                asyncio.run_coroutine_threadsafe(session.close(), session._loop).result(10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """The store, for all tests."""
    for library in ("moto.server", "s3fs"):
        pytest.importorskip(library, reason=f"{library} is not installed: pip install 'dask-em[test]'")
    from tests.services.store import Store

    store = Store()
    yield store
    store.close()


@pytest.fixture
def store(server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The store with an empty bucket, which the environment leads to."""
    from tests.services.store import BUCKET, KEY, SECRET

    told = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ALLOW_HTTP": "true",  # obstore's own
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    server.calm()
    server.empty()
    fsspec.filesystem("s3").mkdir(BUCKET)
    yield server
    server.calm()


@pytest.fixture
def no_environment(store: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing in the environment leads to the store. File systems keep the environment that they were made in."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    forget()
    yield
    forget()


@pytest.fixture
def system(store: Any) -> Any:
    """The file system of the store, as any program sees it."""
    system = fsspec.filesystem("s3", use_listings_cache=False)
    assert system.exists("measurements")  # it keeps the environment of its first request
    return system


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], Result]:
    """Run a command of the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    return lambda arguments: CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="session")
def shapes() -> np.ndarray[Any, Any]:
    """Three kinds of things, (3000, 3), that overlap, in an order that is no kind's."""
    random = np.random.default_rng(1)
    kinds = [random.normal(centre, 1, (1000, 3)) for centre in ([0, 0, 0], [2, 0, 1], [0, 3, -1])]
    return random.permutation(np.concatenate(kinds))


def forget() -> None:
    """Let file systems be made anew."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()
