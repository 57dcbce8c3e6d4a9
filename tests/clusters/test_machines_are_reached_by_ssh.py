"""SSH for real: a server on this machine's loopback, which lets in who has the test's key."""

import json
import signal
import threading
from pathlib import Path

import dask
import psutil
import pytest

from dask_em.errors import InputError
from dask_em.execution.cluster import ClusterSettings, connect
from tests.cli.runs import told
from tests.clusters.checkout import checkout, fitted_here, rows_of, script
from tests.clusters.slurm import until
from tests.clusters.sshd import SSHD, sshd

THREE = ["--set", "model.components=3"]
pytestmark = [
    pytest.mark.clusters,
    pytest.mark.timeout(300),
    pytest.mark.skipif(SSHD is None, reason="sshd is not installed"),
]


@pytest.fixture(scope="module")
def way_in(tmp_path_factory):
    with sshd(tmp_path_factory.mktemp("sshd")) as options:
        yield options


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch):
    monkeypatch.setattr("dask_em.execution.launchers.ssh.LONELY", "10s")
    before = left()
    yield
    there = left() - before
    psutil.wait_procs([psutil.Process(number) for number in there if psutil.pid_exists(number)], timeout=20)
    assert left() <= before, "processes that were started over SSH are still there"


def left():
    """The processes that SSHCluster starts."""
    started = psutil.process_iter(["cmdline"])
    return {each.pid for each in started if "distributed.cli.dask_spec" in (each.info["cmdline"] or [])}


def keys_in(place):
    return set(Path(place).glob("dask-em-*/tls.pem"))


def ssh(way_in, **more):
    kwargs = {"connect_options": way_in, **more.pop("kwargs", {})}
    return connect(ClusterSettings("ssh", hosts=("localhost",) * 3, timeout=30, kwargs=kwargs, **more))


def test_and_the_model_has_the_bits_of_a_fit_in_one_process(tmp_path, way_in):
    folder = rows_of(checkout(tmp_path, "ssh"))
    options = ["--set", f"cluster.kwargs.connect_options={json.dumps(way_in)}"]
    done = script(folder, "ssh.sh", "configs/ssh.yaml", *THREE, *options)
    assert done.returncode == 0, done.stderr
    assert "A mixture of 3 components" in done.stdout
    assert told(folder / "runs/ssh") == told(fitted_here(folder, "configs/ssh.yaml", *THREE))
    assert "distributed" not in done.stderr
    assert way_in["client_keys"][0] not in (folder / "runs/ssh/config.yaml").read_text()


def test_and_workers_are_told_what_the_config_says(way_in):
    before = keys_in("/tmp")
    with ssh(way_in, threads_per_worker=2, memory_limit="1GiB", security="tls") as client:
        client.wait_for_workers(2, timeout=60)
        seen = client.run(_seen)
        (key,) = keys_in("/tmp") - before
        assert key.stat().st_mode & 0o777 == 0o600, "a key that its owner alone can read"
        assert "//127.0.0.1:" in client.dashboard_link
        assert all(address.startswith("tls://127.0.0.1:") for address in [client.scheduler.address, *seen])
    assert [*seen.values()] == [[2, 2**30, False]] * 2
    assert keys_in("/tmp") == before, "it is gone with the cluster"


def _seen(dask_worker):
    memory = dask_worker.memory_manager
    return [dask_worker.state.nthreads, memory.memory_limit, dask.config.get("distributed.worker.memory.spill")]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kwargs": {"remote_python": "/nowhere/python"}}, r"'/nowhere/python': No such file or directory"),
        ({"kwargs": {"worker_options": {"thread": 2}}}, "unexpected keyword argument 'thread'"),
        ({"workers": 3}, "cluster.workers is 3, and cluster.hosts names 2 for workers"),
    ],
)
def test_and_what_cannot_be_started_is_told_in_the_hosts_words(way_in, settings, said):
    with pytest.raises(InputError, match=said), ssh(way_in, **settings):
        pass


@pytest.mark.parametrize("security", [None, "tls"])
def test_and_who_is_not_let_in_is_told(way_in, security):
    with (
        pytest.raises(InputError, match=r"over SSH on localhost, .*Permission denied for user .* on host localhost"),
        ssh({**way_in, "client_keys": [], "agent_path": None}, security=security),
    ):
        pass


def test_and_nothing_stays_when_a_fit_is_interrupted(way_in):
    def interrupted():
        with ssh(way_in) as client:
            client.wait_for_workers(2, timeout=60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


@pytest.mark.parametrize("security", [None, "tls"])
def test_nor_when_it_is_interrupted_while_it_starts(way_in, security):
    there, keys = left(), keys_in("/tmp")

    def stop():
        until(lambda: left() - there, "a process was started over SSH")
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    stopping, before = threading.Thread(target=stop), signal.signal(signal.SIGINT, signal.default_int_handler)
    stopping.start()
    try:
        with pytest.raises(KeyboardInterrupt), ssh(way_in, security=security):
            stopping.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert keys_in("/tmp") == keys
