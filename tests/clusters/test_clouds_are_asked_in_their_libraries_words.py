"""No Kubernetes and no Dask Gateway runs here: what they would be asked is held against their libraries' own code."""

import gc
import inspect
import socket
import sys

import pytest
from dask_gateway import Gateway as Server
from dask_gateway import GatewayCluster
from dask_gateway.options import Options
from dask_kubernetes.operator import KubeCluster, make_cluster_spec

from dask_em.errors import InputError
from dask_em.execution.cluster import ClusterSettings, connect
from dask_em.execution.launchers import launcher_of


def kubernetes(**more):
    return launcher_of(ClusterSettings("kubernetes", workers=8, **more))


def gateway(**more):
    return launcher_of(ClusterSettings("gateway", workers=8, **{"address": "http://gateway.example.org", **more}))


def nobody():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_kubernetes_takes_all_arguments():
    given = {
        "image": "ours:1",
        "namespace": "science",
        "env": {"AWS_REGION": "eu"},
        "scheduler_service_type": "NodePort",
    }
    arguments = kubernetes(threads_per_worker=2, memory_limit="8GiB", kwargs=given).arguments()
    inspect.signature(KubeCluster).bind(**arguments)
    assert "kwargs" not in inspect.signature(KubeCluster).bind(**arguments).arguments, "it knows each of them by name"
    assert arguments["namespace"] == "science"
    assert arguments["shutdown_on_close"]
    assert arguments["quiet"]


def test_kubernetes_is_described_a_worker_of_the_size_that_is_asked_for():
    given = {"image": "ours:1", "name": "mine", "env": {"AWS_REGION": "eu"}}
    spec = kubernetes(threads_per_worker=2, memory_limit="8GiB", kwargs=given).arguments()["custom_cluster_spec"]
    assert spec.keys() == make_cluster_spec("mine").keys()
    assert spec["metadata"]["name"] == "mine"
    workers = spec["spec"]["worker"]
    (container,) = workers["spec"]["containers"]
    size = {"cpu": "2", "memory": str(8 * 2**30)}
    assert workers["replicas"] == 8
    assert container["resources"] == {"limits": size, "requests": size}
    assert container["args"][:4] == ["dask", "worker", "--nthreads", "2"]
    assert container["image"] == "ours:1"
    told = {each["name"]: each["value"] for each in container["env"]}
    assert told == {
        "DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "False",
        "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "False",
        "DASK_DISTRIBUTED__WORKER__PROFILE__INTERVAL": "500ms",
        "DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL": "500ms",
        "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
        "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "2s",
        "AWS_REGION": "eu",
    }
    (scheduler,) = spec["spec"]["scheduler"]["spec"]["containers"]
    assert scheduler["args"][:2] == ["dask", "scheduler"]


def test_kubernetes_takes_a_description_of_the_users_own():
    own = {"metadata": {"name": "mine"}}
    assert kubernetes(kwargs={"custom_cluster_spec": own}).arguments()["custom_cluster_spec"] is own


def test_no_kubernetes_is_told_in_the_librarys_words(tmp_path, monkeypatch):
    (tmp_path / "config").write_text(KUBECONFIG.format(address=nobody()))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    settings = ClusterSettings("kubernetes", workers=1, timeout=5, kwargs={"namespace": "default", "image": "ours:1"})
    with pytest.raises(InputError, match="cluster.kind kubernetes could not start its cluster: "), connect(settings):
        pass


KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "http://{address}"}}}}]
users: [{{name: me, user: {{token: none}}}}]
contexts: [{{name: us, context: {{cluster: here, user: me}}}}]
current-context: us
"""


def test_a_gateway_takes_all_arguments():
    launcher = gateway(kwargs={"auth": "jupyterhub", "proxy_address": 8786, "image": "ours:1"})
    access, chosen = launcher.arguments()
    inspect.signature(Server).bind(**access)
    assert access == {"address": "http://gateway.example.org", "auth": "jupyterhub", "proxy_address": 8786}
    assert chosen == {"image": "ours:1"}
    inspect.signature(Server.new_cluster).bind(None, Options(), **chosen)
    inspect.signature(GatewayCluster.adapt).bind(None, minimum=1, maximum=2)


def options(*names):
    fields = [{"field": name, "label": name, "type": "float", "default": 1.0} for name in names]
    return Options._from_spec([{**each, "spec": {"type": each.pop("type")}} for each in fields])


def test_a_gateway_is_asked_for_workers_of_that_size():
    launcher = gateway(threads_per_worker=2, memory_limit="8GiB")
    assert launcher.sizes(options("worker_cores", "worker_memory")) == {"worker_cores": 2, "worker_memory": 8.0}
    assert gateway().sizes(options()) == {}, "as the gateway has it"
    with pytest.raises(InputError, match="the gateway has no option worker_cores; it has size. Leave"):
        launcher.sizes(options("size"))
    chosen = gateway(threads_per_worker=2, kwargs={"worker_cores": 4})
    assert chosen.sizes(options("worker_cores")) == {}, "the user's word counts"


@pytest.mark.filterwarnings("ignore:Exception ignored in. <function Gateway.__del__")  # closes what is closed
def test_no_gateway_is_told_in_the_librarys_words():
    settings = ClusterSettings("gateway", workers=1, address=f"http://{nobody()}")
    with (
        pytest.raises(InputError, match="cluster.kind gateway could not start its cluster: .*onnect"),
        connect(settings),
    ):
        pass
    gc.collect()


@pytest.mark.parametrize(
    ("kind", "library", "more"),
    [
        ("kubernetes", "dask_kubernetes.operator", {"workers": 1}),
        ("gateway", "dask_gateway", {"workers": 1}),
        ("ssh", "asyncssh", {"hosts": ("here", "here")}),
        ("mpi", "dask_mpi", {}),
    ],
)
def test_and_what_is_not_installed_is_named(monkeypatch, kind, library, more):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"dask_em.execution.launchers.{kind}", raising=False)
    with pytest.raises(
        InputError, match=rf"cluster.kind {kind} needs {library}.*: \S+ -m pip install 'dask-em\[{kind}\]'"
    ):
        launcher_of(ClusterSettings(kind, **more))
