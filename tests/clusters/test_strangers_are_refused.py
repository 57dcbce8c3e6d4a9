"""TLS: who has no certificate of a cluster's can neither use it nor read along."""

import time

import pytest
from distributed import Client, LocalCluster

from dask_em.errors import InputError
from dask_em.execution.cluster import ClusterSettings, connect
from dask_em.execution.launchers.security import of_files
from tests.clusters.certificates import certificates

pytestmark = pytest.mark.clusters
START = {"n_workers": 0, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return certificates(tmp_path_factory.mktemp("certificates") / "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    return certificates(tmp_path_factory.mktemp("certificates") / "theirs")


@pytest.fixture(scope="module")
def secured(ours):
    """A scheduler that knows our certificates."""
    with LocalCluster(**START, security=of_files(ours), protocol="tls") as cluster:
        yield cluster.scheduler_address


def reached(address, security=None, timeout=3):
    return connect(ClusterSettings("address", address=address, security=security, timeout=timeout))


def test_by_workers_of_this_machine():
    with connect(ClusterSettings("local", workers=1, security="tls", memory_limit="1GiB")) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert client.submit(sum, [1, 2]).result() == 3
        with pytest.raises(InputError, match=f"the scheduler at {address} encrypts; give the certificates"):
            reached(address).__enter__()
        with pytest.raises(InputError, match="no Dask scheduler answers at tcp://127.0.0.1"):
            reached(address.replace("tls", "tcp")).__enter__()
        with pytest.raises(OSError, match="Timed out|refus|closed"):
            Client(address.replace("tls", "tcp"), timeout=2, set_as_default=False)


def test_by_a_scheduler_that_has_certificates_of_its_own(secured, ours, theirs):
    for address in (secured, secured.removeprefix("tls://")):
        with reached(address, ours) as client:
            assert client.scheduler.address.startswith("tls://")
    began = time.monotonic()
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tls://.*(?i:certificate|ssl)"):
        reached(secured, theirs, timeout=60).__enter__()
    assert time.monotonic() - began < 60, "as soon as it is known"


def test_and_who_wishes_to_encrypt_is_not_heard_in_clear(ours):
    with (
        LocalCluster(**START, protocol="tcp") as cluster,
        pytest.raises(InputError, match="does not encrypt, and cluster.security asks for it"),
        reached(cluster.scheduler_address, ours),
    ):
        pass


def test_and_certificates_that_cannot_be_used_are_named(ours, theirs, tmp_path):
    (tmp_path / "letter").write_text("no certificate")
    for security, said in (
        (
            "tls",
            "cluster.security is tls, which makes new certificates, and the scheduler that runs already has its own",
        ),
        (
            {**ours, "key": "nowhere.pem"},
            r"cluster.security.key is /.*/nowhere.pem, which cannot be read: No such file",
        ),
        ({**ours, "ca_file": str(tmp_path / "letter")}, "cluster.security cannot be used"),
        ({**ours, "key": theirs["key"]}, "cluster.security cannot be used"),
        ({"cert": ours["cert"]}, 'cluster.security must be "tls" or the paths ca_file, cert, key'),
    ):
        with pytest.raises(InputError, match=said), reached("tls://127.0.0.1:9", security):
            pass
