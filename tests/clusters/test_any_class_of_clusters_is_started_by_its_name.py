import dask
import pytest

from dask_em.errors import InputError
from dask_em.execution.cluster import ClusterSettings, connect

pytestmark = pytest.mark.clusters
HERE = {
    "processes": False,
    "protocol": "tcp",
    "host": "127.0.0.1",
    "dashboard_address": "127.0.0.1:0",
    "threads_per_worker": 1,
    "n_workers": 0,
}


def custom(name="distributed:LocalCluster", **more):
    return connect(ClusterSettings("custom", class_=name, **{"kwargs": HERE, "timeout": 30, **more}))


def test_with_its_own_arguments():
    with custom(kwargs={**HERE, "n_workers": 1}) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        assert client.nthreads() == dict.fromkeys(client.nthreads(), 1)


def test_and_workers_that_are_lost_are_replaced():
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"}), custom(workers=2) as client:
        client.wait_for_workers(2, timeout=30)
        lost = set(client.scheduler_info()["workers"])
        client.retire_workers(list(lost))
        client.wait_for_workers(2, timeout=30)
        assert not lost & set(client.scheduler_info()["workers"])


def test_and_workers_that_have_nothing_to_do_are_given_back_slowly():
    with custom(workers=2, least_workers=1) as client:
        adaptive = client.cluster._adaptive
        assert (adaptive.minimum, adaptive.maximum) == (1, 2)
        assert (adaptive.interval, adaptive.wait_count, adaptive.target_duration) == (30, 20, 300)
        assert client.submit(sum, [1, 2]).result() == 3


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        (
            "nowhere.at_all:Cluster",
            {},
            "cluster.class nowhere.at_all:Cluster cannot be loaded: No module named 'nowhere'",
        ),
        ("distributed:Clutser", {}, "cluster.class distributed:Clutser: there is no class 'Clutser' in distributed"),
        ("builtins:dict", {}, "cluster.class builtins:dict makes a dict, which is no cluster of Dask's kind"),
        (
            "distributed:SpecCluster",
            {"kwargs": {"n_worker": 1}},
            "cluster.kind custom could not start its cluster: .*unexpected keyword argument 'n_worker'.*cluster.kwargs",
        ),
    ],
)
def test_or_what_is_wrong_with_it_is_told(name, more, said):
    with pytest.raises(InputError, match=said), custom(name, **more):
        pass


def test_but_no_secret_of_its_arguments(monkeypatch):
    class Careless:
        def __init__(self, token):
            raise ValueError(f"no such token: {token}, at https://me:hush@there")

    monkeypatch.setattr("distributed.Careless", Careless, raising=False)
    with pytest.raises(InputError) as told, custom("distributed:Careless", kwargs={"token": "hush hush"}):
        pass
    assert "ValueError: no such token: ***, at https://***@there. Look at cluster.kwargs" in str(told.value)
