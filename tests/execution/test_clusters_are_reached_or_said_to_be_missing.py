from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

import pytest
from distributed import Client

from dask_em.errors import InputError
from dask_em.execution import active_client, open_reducer
from dask_em.execution.cluster import ClusterSettings, cluster, connect
from tests.execution.cases import Memory, layout_of, values_of


@pytest.mark.parametrize("kind", ["none", "threads"])
def test_this_process_needs_no_client(kind: Any) -> None:
    with connect(ClusterSettings(kind)) as client:
        assert client is None


def test_local_workers_are_processes_that_only_this_machine_reaches(client: Client) -> None:
    pids = client.run(os.getpid)
    assert len(set(pids.values())) == 2
    assert os.getpid() not in pids.values()
    assert all(address.startswith("tcp://127.0.0.1:") for address in [client.scheduler.address, *pids])
    assert "//127.0.0.1:" in client.dashboard_link


def test_processes_of_ours_look_at_themselves_seldom(client: Client) -> None:
    def milliseconds(server: Any) -> dict[str, float]:
        return {name: server.periodic_callbacks[name].callback_time for name in ("monitor", "tick")}

    def of_worker(dask_worker: Any) -> dict[str, float]:
        callbacks = dask_worker.periodic_callbacks
        return {name: callbacks[name].callback_time for name in ("monitor", "tick", "profile", "memory_monitor")}

    def of_scheduler(dask_scheduler: Any) -> dict[str, float]:
        return milliseconds(dask_scheduler)

    seldom = {"monitor": 2000, "tick": 500}
    assert client.run_on_scheduler(of_scheduler) == seldom
    assert list(client.run(of_worker).values()) == [{**seldom, "profile": 500, "memory_monitor": 500}] * 2


def test_a_scheduler_that_runs_is_reached_by_address(client: Client) -> None:
    with connect(ClusterSettings("address", address=client.scheduler.address)) as other:
        assert other is not None
        assert other.submit(sum, [1, 2]).result() == 3
    assert client.status == "running"


def test_nobody_at_an_address_is_told_in_a_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    for wrong in (address, "nonsense", "foo://127.0.0.1:3"):
        with (
            pytest.raises(InputError, match=f"no Dask scheduler answers at {wrong} within 1 seconds"),
            connect(ClusterSettings("address", address=wrong, timeout=1)),
        ):
            pass
    with (
        pytest.raises(InputError, match="cluster.address is missing; kind: address"),
        connect(ClusterSettings("address")),
    ):
        pass


@pytest.mark.parametrize("limit", ["10MB", "256MB", "0"])
def test_a_worker_without_room_for_itself_is_refused(limit: str) -> None:
    with (
        pytest.raises(InputError, match=f"cluster.memory_limit is {limit}, and a worker needs at least 300MB"),
        connect(ClusterSettings("local", workers=1, memory_limit=limit)),
    ):
        pass


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        ("local", {"workers": "2"}, "cluster.workers is '2'; it must be a whole number, at least 1"),
        ("local", {"workers": 0}, "cluster.workers is 0; it must be a whole number, at least 1"),
        ("threads", {"workers": True}, "cluster.workers is True; it must be a whole number, at least 1"),
        ("local", {"threads_per_worker": None}, "cluster.threads_per_worker is None; it must be a whole number"),
        ("local", {"memory_limit": 2}, "cluster.memory_limit is 2; it must be a size such as '2GiB'"),
        ("local", {"timeout": "5"}, "cluster.timeout is '5'; it must be a number of seconds, more than 0"),
        ("local", {"security": True}, 'cluster.security must be "tls" or the paths ca_file, cert, key'),
        ("address", {"address": ""}, "cluster.address is ''; it must be text that is not empty"),
        ("address", {"scheduler_file": 1}, "cluster.scheduler_file is 1; it must be a path"),
        ("ssh", {"hosts": "here"}, "cluster.hosts is 'here'; it must be a list of at least two names"),
        ("custom", {"class_": 3}, "cluster.class is 3; it must be text that is not empty"),
        ("custom", {"class_": "a:B", "kwargs": ["hush"]}, "cluster.kwargs must be a mapping"),
        (["local"], {}, "there is no kind ['local'] of clusters."),
    ],
)
def test_what_is_no_such_value_is_refused_in_python(kind: Any, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as told, cluster(kind, **settings):
        pass
    assert str(told.value).startswith(sentence)


def test_a_worker_with_room_is_started() -> None:
    with connect(ClusterSettings("local", workers=1, memory_limit="600MB")) as client:
        assert client is not None
        assert client.submit(sum, [1, 2]).result() == 3


def test_what_is_no_working_client_is_refused(client: Client) -> None:
    layout = layout_of(Memory(values_of(0, 100)))
    with Client(client.scheduler.address, set_as_default=False) as closed:
        pass
    for wrong, sentence in (
        (closed, "the client is closed"),
        ("tcp://here", "the client is a str; give"),
    ):
        with pytest.raises(InputError, match=sentence), open_reducer(layout, wrong):
            pass


def test_the_users_own_client_is_found(client: Client) -> None:
    assert active_client() is None
    with client.as_current():
        assert active_client() is client


QUIET = """
from dask_em.execution.cluster import ClusterSettings, connect
if __name__ == "__main__":
    with connect(ClusterSettings("local", workers=1, memory_limit="1GiB")) as client:
        print(client.submit(sum, [1, 2]).result())
"""


def test_local_workers_end_silently(tmp_path: Any) -> None:
    script = tmp_path / "script.py"
    script.write_text(QUIET)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}  # noqa: PTH109  # the checkout's root
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == ("3\n", "")
