from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"pandas", "pyarrow", "sklearn", "zarr", "fsspec", "dask", "scipy", "matplotlib"}


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("dask_em.storage", set()),
        ("dask_em.storage.blocks", set()),
        ("dask_em.storage.archive", set()),
        ("dask_em.storage.numpy", {"fsspec"}),
        ("dask_em.storage.opening", {"fsspec"}),
        ("dask_em.storage.sinks", {"fsspec"}),
        ("dask_em.storage.zarr", {"fsspec", "zarr"}),
        ("dask_em.storage.parquet", {"fsspec", "pyarrow"}),
    ],
)
def test_importing(module: str, allowed: set[str]) -> None:
    code = f"import sys, {module}; print(*{HEAVY!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= allowed


def test_zarr_reads_with_few_threads_unless_the_user_said_otherwise() -> None:
    code = "import zarr; {} import dask_em.storage.zarr; print(zarr.config.get('async.concurrency'), "
    code += "zarr.config.get('threading.max_workers'))"
    for before, wanted in (
        ("", "4 4"),
        ("zarr.config.set({'async.concurrency': 7, 'threading.max_workers': 2});", "7 2"),
    ):
        run = [sys.executable, "-c", code.format(before)]
        assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == wanted
