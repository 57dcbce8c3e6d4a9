import asyncio
import json
import signal
import socket
import threading
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from typer.testing import CliRunner

from dask_em.cli.app import app
from dask_em.errors import InputError
from dask_em.execution.cluster import ClusterSettings, connect
from tests.cli.runs import told
from tests.clusters.checkout import checkout, fitted_here, rows_of

pytestmark = pytest.mark.clusters


@pytest.fixture
def scheduler():
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        yield cluster.scheduler_address


def by_file(path, timeout):
    return connect(ClusterSettings("address", scheduler_file=str(path), timeout=timeout))


def test_but_by_no_address_that_names_a_user():
    with (
        pytest.raises(InputError, match=r"cluster\.address is tcp://\*\*\*@there:1, which names a user"),
        connect(ClusterSettings("address", address="tcp://me:hush@there:1")),
    ):
        pass


def test_that_it_has_yet_to_write(scheduler, tmp_path):
    path = tmp_path / "scheduler.json"
    path.write_text('{"type": "Scheduler", "add')  # so much of it is there
    writing = threading.Timer(0.5, path.write_text, [json.dumps({"type": "Scheduler", "address": scheduler})])
    writing.start()
    with by_file(path, 30) as client:
        assert client.submit(sum, [1, 2]).result() == 3
    writing.join()


def test_and_the_model_has_the_bits_of_a_fit_in_one_process(scheduler, tmp_path, monkeypatch):
    monkeypatch.chdir(rows_of(checkout(tmp_path)))
    Path("scheduler.json").write_text(json.dumps({"address": scheduler}))
    there = ["--set", "cluster={kind: address, scheduler_file: scheduler.json}"]
    three = ["--set", "model.components=3"]
    done = CliRunner().invoke(app, ["fit", "configs/address.yaml", *three, *there])
    assert done.exit_code == 0, done.output
    assert told(Path("runs/address")) == told(fitted_here(tmp_path, "configs/address.yaml", *three))


def test_or_what_is_wrong_with_the_file_is_told(tmp_path):
    path = tmp_path / "scheduler.json"
    with pytest.raises(InputError, match=r"cluster.scheduler_file .* names no scheduler .*No such file"):
        by_file(path, 0.3).__enter__()
    path.write_text('{"id": 1}')
    with pytest.raises(InputError, match=r"it is not a scheduler's whole file.*wait longer \(cluster.timeout\)"):
        by_file(path, 0.3).__enter__()


def test_or_that_its_scheduler_has_gone(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"address": address}))
    with pytest.raises(InputError, match=f"no Dask scheduler answers at {address}, which {path} names, within 1 sec"):
        by_file(path, 1).__enter__()


def test_and_a_client_that_ctrl_c_leaves_half_made_is_closed(scheduler, monkeypatch):
    halves = []

    async def never(client, **_):
        halves.append(client)
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(60)

    monkeypatch.setattr(Client, "_ensure_connected", never)
    with (
        pytest.raises(KeyboardInterrupt),
        connect(ClusterSettings("address", address=scheduler, timeout=60)),
    ):
        pass
    (half,) = halves
    assert half.status == "closed"  # or it would wait at Python's end for a loop that is none
