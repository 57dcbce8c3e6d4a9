"""CPU time to read Zarr from an object store, with fsspec and with obstore, from a server on this machine.

python benchmarks/readers.py [rows of a chunk] [chunks]
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time

import fsspec
import numpy as np
import obstore.store
import zarr
import zarr.storage

import dask_em.storage.zarr as ours  # sets how many threads zarr reads with, as in a fit

COLUMNS, AT_ONCE = 16, 4  # chunks


def main(rows: int, chunks: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        compare(f"http://127.0.0.1:{port}", rows, chunks)
    finally:
        server.terminate()
        server.wait()


def wait_for(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)


def compare(url: str, rows: int, chunks: int) -> None:
    told = {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "DEFAULT_REGION": "us-east-1", "ENDPOINT_URL": url}
    os.environ.update({f"AWS_{name}": text for name, text in told.items()})
    fsspec.filesystem("s3").mkdir("bucket")
    store = obstore.store.S3Store("bucket", prefix="rows.zarr", endpoint=url, client_options={"allow_http": True})
    values = np.random.default_rng(0).normal(size=(rows * chunks, COLUMNS)).astype("float32")
    zarr.create_array(zarr.storage.ObjectStore(store), data=values, chunks=(rows, COLUMNS), compressors=None)
    readers = {
        "fsspec": zarr.storage.FsspecStore.from_url("s3://bucket/rows.zarr", read_only=True),
        "obstore": zarr.storage.ObjectStore(store, read_only=True),
    }
    print(f"{chunks} chunks of {rows * COLUMNS * 4 / 1e6:.1f} MB, {ours.READERS} readers")
    for _ in range(3):
        for name, reader in readers.items():
            array = zarr.open_array(reader, mode="r")
            array[:rows]
            began, spent = time.perf_counter(), cpu()
            for first in range(0, len(values), AT_ONCE * rows):
                array[first : first + AT_ONCE * rows]
            took = time.perf_counter() - began
            print(f"{name:8} {took:6.2f} s, {1e3 * (cpu() - spent) / chunks:6.2f} ms of CPU a chunk")


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(*[int(word) for word in sys.argv[1:]] or [16_384, 400])
