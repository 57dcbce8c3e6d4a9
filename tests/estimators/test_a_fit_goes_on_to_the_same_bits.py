"""A fit that was stopped after or in any pass goes on, wherever it then runs, to the bits of one that was not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.driver import Checkpoints
from dask_em.errors import DataError, InputError
from dask_em.rows import Rows
from dask_em.storage.source import Atom
from tests.sources import Chunks

CENTRES = np.array([[0.0, 0], [3, 0], [0, 6]])
RANDOM = np.random.default_rng(0)
X = RANDOM.permutation(CENTRES[np.repeat([0, 1, 2], [2800, 2800, 400])] + RANDOM.standard_normal((6000, 2)))
SIZES = (750,) * 8
FITS: dict[str, dict[str, Any]] = {
    "one": {},
    "three restarts": {"n_init": 3, "tol": 1e-2},
    "a component that is moved": {"means_init": np.r_[CENTRES[:2], [[1e6, 1e6]]], "reseed": True},
}


@dataclasses.dataclass(frozen=True)
class Counted(Chunks):
    """Rows in storage that counts how often it is read, and fails when it was read so many times."""

    reads: list[str] = dataclasses.field(default_factory=list)
    most: float = float("inf")

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        if len(self.reads) >= self.most:
            raise DataError("the storage is gone")
        self.reads.append(atom.place)
        return super().load(atom, rows)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def streamed() -> Iterator[None]:
    """Read the rows in each pass."""
    with dask.config.set({"dask_em.resident": 0}):
        yield


def mixture(**settings: Any) -> GaussianMixture:
    begun = {"n_components": 3, "init_params": "random_from_data", "tol": 1e-4, "max_iter": 8, "random_state": 0}
    return GaussianMixture(**{**begun, **settings})


def told(model: GaussianMixture) -> Any:
    """Return all that a fit has come to, but for the seconds that it took."""
    history = tuple(dataclasses.replace(entry, seconds=0.0) for entry in model.history_)
    return digest(dataclasses.replace(model._fitted, history=history))


def whole(**settings: Any) -> GaussianMixture:
    """Fit without a stop."""
    model = mixture(**settings)
    run(model, Chunks(X, SIZES))
    return model


def run(model: GaussianMixture, data: Any, most: float = float("inf"), **options: Any) -> int:
    """Fit until so many passes are made; return how many were."""
    made = last = 0
    with closing(model.iterate(data, **options)) as iterations:
        for iteration in iterations:
            made, last = made + (iteration.entry.number != last), iteration.entry.number
            if made >= most:
                break
    return made


@pytest.mark.parametrize("settings", FITS.values(), ids=FITS)
def test_stopped_after_any_pass(
    settings: dict[str, Any], tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = whole(**settings)
    passes = run(mixture(**settings), Chunks(X, SIZES), checkpoints=tmp_path / "whole")
    assert passes > 4
    for stopped in range(1, passes + 1):
        folder = tmp_path / str(stopped)
        assert run(mixture(**settings), Chunks(X, SIZES), stopped, checkpoints=folder) == stopped
        model, data = mixture(**settings), Counted(X, SIZES)
        where = (None, None, client)[stopped % 3]
        with monkeypatch.context() as patch:
            patch.setattr("dask_em.execution.cores", lambda: 1 + stopped % 3)  # noqa: B023  # one: no threads at all
            made = run(model, data, checkpoints=folder, resume=True, client=where)
        assert made == passes - stopped, "no pass is repeated"
        if where is None:
            assert len(data.reads) < len(SIZES) * (made + 1), "pass 0 is not repeated"
        assert told(model) == told(undisturbed)


@pytest.mark.parametrize("settings", FITS.values(), ids=FITS)
def test_stopped_in_any_pass(settings: dict[str, Any], tmp_path: Path) -> None:
    undisturbed, data = whole(**settings), Counted(X, SIZES)
    run(mixture(**settings), data, checkpoints=tmp_path / "whole")
    for most in range(20, len(data.reads), 15):
        folder = tmp_path / str(most)
        with pytest.raises(DataError, match="the storage is gone"):
            run(mixture(**settings), Counted(X, SIZES, most=most), checkpoints=folder)
        model, rest = mixture(**settings), Counted(X, SIZES)
        run(model, rest, checkpoints=folder, resume=True)
        assert most + len(rest.reads) < len(data.reads) + len(SIZES) + 5, "at most one pass is repeated"
        assert told(model) == told(undisturbed)


def test_stopped_many_times(tmp_path: Path, client: Client) -> None:
    settings = FITS["three restarts"]
    resume = False
    for where in [None, client] * 3:
        model = mixture(**settings)
        run(model, Chunks(X, SIZES), 1, checkpoints=tmp_path, resume=resume, client=where)
        resume = True
    run(model, Chunks(X, SIZES), checkpoints=tmp_path, resume=True)
    assert told(model) == told(whole(**settings))


def test_a_finished_fit_goes_on_where_more_is_asked_for(tmp_path: Path) -> None:
    run(mixture(max_iter=3), Chunks(X, SIZES), checkpoints=tmp_path)
    model = mixture(max_iter=9, tol=1e-9)
    assert run(model, Chunks(X, SIZES), checkpoints=tmp_path, resume=True) == 6
    assert told(model) == told(whole(max_iter=9, tol=1e-9))


@pytest.mark.parametrize("more", [{}, {"max_iter": 100}, {"max_iter": 2, "tol": 0.0}, {"tol": 1e3}, {"verbose": 1}])
def test_a_finished_fit_makes_no_pass_where_no_more_is_asked_for(tmp_path: Path, more: dict[str, Any]) -> None:
    first = mixture(max_iter=60)
    run(first, Chunks(X, SIZES), checkpoints=tmp_path)
    assert first.converged_
    data, model = Counted(X, SIZES), mixture(**{"max_iter": 60, **more})
    assert run(model, data, checkpoints=tmp_path, resume=True) == 0
    assert len(data.reads) < len(SIZES)
    assert digest(model._fitted.params) == digest(first._fitted.params)
    assert model.outcome_.kind == ("max_passes" if more.get("tol") == 0.0 else "converged")


def test_a_fit_that_was_stopped_makes_no_more_passes_than_are_asked_for(tmp_path: Path) -> None:
    run(mixture(tol=0.0), Chunks(X, SIZES), 4, checkpoints=tmp_path)
    model = mixture(tol=0.0, max_iter=4)
    assert run(model, Chunks(X, SIZES), checkpoints=tmp_path, resume=True) == 0
    assert told(model) == told(whole(tol=0.0, max_iter=4))


@pytest.mark.parametrize(
    ("settings", "data", "sentence"),
    [
        ({"n_components": 4}, {}, "the number of components is 4, and was 3 when the checkpoint was written; give it"),
        ({"covariance_type": "diag"}, {}, "the type of covariance is 'diag', and was 'full'"),
        ({"n_init": 2}, {}, "the number of restarts is 2, and was 1"),
        ({"random_state": 1}, {}, "the seed is 1, and was 0"),
        ({"means_init": CENTRES}, {}, "means_init is another than when"),
        ({}, {"values": np.r_[X, X[:750]], "sizes": (*SIZES, 750)}, "the data has 6,750 rows, and had 6,000"),
        ({}, {"sizes": (1500,) * 4}, "the data is cut into other pieces than when"),
        ({}, {"values": X + 1e-9}, "the rows are others than when"),
        ({}, {"values": X.astype(np.float32)}, "the rows are others than when"),
        ({}, {"weights": np.full(6000, 2.0)}, "the rows are others than when"),
    ],
)
def test_another_fit_is_refused(tmp_path: Path, settings: Any, data: Any, sentence: str) -> None:
    run(mixture(), Chunks(X, SIZES), 2, checkpoints=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=sentence) as caught:
        run(mixture(**settings), Chunks(**{"values": X, "sizes": SIZES, **data}), checkpoints=tmp_path, resume=True)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("strict", "words"), [("warn", "the last bits may differ"), ("strict", "resume where it is")])
def test_another_arithmetic_is_told_of_or_refused(
    tmp_path: Path, strict: str, words: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run(mixture(), Chunks(X, SIZES), 2, checkpoints=tmp_path)
    monkeypatch.setattr("dask_em.estimators.fitting.environment", lambda: "numpy 0.1; BLAS none")
    error = ""
    try:
        run(mixture(reproducible=strict), Chunks(X, SIZES), checkpoints=tmp_path, resume=True)
    except InputError as refused:
        error = str(refused)
    assert words in error + caplog.text
    assert bool(error) == (strict == "strict")


def test_nothing_is_resumed_from_nothing_nor_written_over(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no checkpoint in .*none to resume from; fit anew"):
        run(mixture(), X, checkpoints=tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="no folder of checkpoints is given"):
        next(mixture().iterate(X, resume=True))
    run(mixture(), X, 2, checkpoints=tmp_path)
    with pytest.raises(InputError, match="holds the checkpoints of an earlier fit; resume it"):
        run(mixture(), X, checkpoints=tmp_path)


def test_settings_are_kept_as_json_whatever_they_are(tmp_path: Path) -> None:
    model = mixture(random_state=np.random.RandomState(3), n_init=np.int64(2))
    run(model, X, 1, checkpoints=tmp_path)
    found = Checkpoints(tmp_path).newest()
    assert found is not None
    assert json.loads(found.settings)["n_init"] == 2
