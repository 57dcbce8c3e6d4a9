from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, Nanny, Scheduler, SpecCluster

import dask_em
from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.errors import InputError
from dask_em.execution import DaskReducer, differences, environment
from dask_em.rows import Rows
from dask_em.statistics import Joint
from tests.execution.cases import Folder, Seeded, doubled, layout_of, sums

OLD = Path(__file__).parents[1] / "estimators" / "model-version-1.npz"
OTHER = "Sandybridge"  # a kind of CPU that every OpenBLAS for x86-64 has sums for, and nobody's own


@pytest.fixture(scope="module")
def unlike() -> Iterator[Client]:
    """Two worker processes, one of which takes its CPU for another."""
    if "openblas" not in environment():
        pytest.skip("NumPy computes with another BLAS than OpenBLAS here, whose choice of CPU cannot be set")
    nanny = {"cls": Nanny, "options": {"nthreads": 1, "dashboard_address": ":0", "memory_limit": "1GiB"}}
    other = {"cls": Nanny, "options": {**nanny["options"], "env": {"OPENBLAS_CORETYPE": OTHER}}}
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0", "host": "127.0.0.1"}}
    with (
        SpecCluster(workers={"like": nanny, "unlike": other}, scheduler=scheduler) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2)
        yield client


def slowly(rows: Rows) -> Joint:
    time.sleep(0.01)  # so that both have a share
    return sums(rows)


@pytest.mark.clusters
def test_it_is_told_once(unlike: Client, caplog: pytest.LogCaptureFixture) -> None:
    with DaskReducer(layout_of(Seeded(22), 22), unlike) as reducer, caplog.at_level("WARNING", logger="dask_em"):
        reducer.total(slowly)
        (told,) = reducer.news()
        reducer.total(slowly)
        assert reducer.news() == ()
        assert len(reducer.environments) == 2
    assert told.startswith("the workers' arithmetic differs (BLAS openblas ")
    assert OTHER in told
    assert told.endswith("), so that the last bits of a fit may too")
    assert [record.message for record in caplog.records if record.name == "dask_em"] == [told]


@pytest.mark.clusters
def test_it_is_refused_where_bits_must_be_the_same(unlike: Client, tmp_path: Path) -> None:
    sentence = rf"the workers' arithmetic differs \(BLAS openblas .*{OTHER}.*\), .*; make the workers alike"
    with DaskReducer(layout_of(Seeded(22), 22), unlike, strict=True) as reducer:
        with pytest.raises(InputError, match=sentence):
            reducer.total(slowly)
        with pytest.raises(InputError, match=sentence):
            reducer.write(doubled, Folder(tmp_path / "written"))
    assert (tmp_path / "written.abandoned").exists()


@pytest.mark.clusters
def test_the_users_choice_reaches_the_workers_and_the_history(unlike: Client) -> None:
    rows = np.random.default_rng(0).standard_normal((60_000, 2))
    model = GaussianMixture(2, max_iter=2, tol=0.0, init_params="random_from_data", random_state=0)
    for _ in model.iterate(rows, client=unlike):
        pass
    events = [entry.events for entry in model.history_]
    assert len(events[0]) == 1
    assert OTHER in events[0][0]
    assert events[1] == ()
    with pytest.raises(InputError, match=OTHER):
        list(model.set_params(reproducible="strict").iterate(rows, client=unlike))


@pytest.mark.parametrize("reproducible", ["warn", "strict"])
def test_workers_that_are_alike_are_no_news(reproducible: str, client: Client) -> None:
    with DaskReducer(layout_of(Seeded(11)), client, strict=reproducible == "strict") as reducer:
        reducer.total(sums)
        assert reducer.news() == ()
        assert reducer.environments == {environment()}


def test_differences_are_named_and_nothing_else() -> None:
    one, other = "machine x86_64; numpy 2.1; BLAS openblas Zen", "machine x86_64; numpy 2.2; BLAS openblas Haswell"
    assert differences([one, other, one]) == "numpy 2.1 or 2.2; BLAS openblas Haswell or openblas Zen"
    assert differences([one, one]) == ""
    assert differences(["machine x86_64", "machine x86_64; numba 0.61"]) == "numba 0.61 or missing"
    assert differences([]) == ""


def test_the_environment_names_what_decides_bits() -> None:
    told = dict(pair.split(" ", 1) for pair in environment().split("; "))
    assert {"machine", "Python", "dask-em", "numpy", "scipy", "SIMD", "BLAS"} <= told.keys()
    assert told["numpy"] == np.__version__
    assert all(told.values())


def test_a_fit_records_its_environment_and_a_file_keeps_it(tmp_path: Path) -> None:
    model = GaussianMixture(2, random_state=0).fit(np.random.default_rng(0).standard_normal((200, 2)))
    assert model._fitted.environment == environment()
    elsewhere = dataclasses.replace(model._fitted, environment="machine z80")
    model.published(elsewhere)
    model.save(tmp_path / "model.npz")
    again = dask_em.load(tmp_path / "model.npz")
    assert again._fitted.environment == "machine z80"
    assert digest(again._fitted) == digest(elsewhere)


def test_a_file_from_before_has_none_and_still_loads() -> None:
    assert dask_em.load(OLD)._fitted.environment == ""
