"""The reference kernel runs in any array namespace and on any device, and gives what it gives with NumPy's arrays."""

from __future__ import annotations

import dataclasses
import gc
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dask_em._record import dump
from dask_em.families import COVARIANCES, Gaussian
from dask_em.kernel import reference
from dask_em.mixture import PreparedMixture
from dask_em.rows import Rows
from dask_em.testing import Case
from tests.families import clouds, many_columns, one_column

Array = np.ndarray[Any, Any]
Move = Callable[[Array], Any]  # to another namespace, or a skip with its reason
TILE = 128
DRAWS = {"clouds": (clouds, 3), "one-column": (one_column, 2), "nine-columns": (many_columns, 6)}


def strict(values: Array) -> Any:
    """Return an array that has what the standard says and no more."""
    xp = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    return xp.asarray(values)


def strict_elsewhere(values: Array) -> Any:
    """Return one on a device whose arrays neither meet another's nor become NumPy's by themselves."""
    xp = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    return xp.asarray(values, device=xp.Device("device1"))


def torch(values: Array) -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed").asarray(values)


def torch_on_gpu(values: Array) -> Any:
    module = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not module.cuda.is_available():
        pytest.skip("PyTorch finds no GPU")
    return module.asarray(values, device="cuda")


def cupy_on_gpu(values: Array) -> Any:
    module = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    if not module.is_available():
        pytest.skip("CuPy finds no GPU")
    return module.asarray(values)


@pytest.fixture(params=[strict, strict_elsewhere, torch, torch_on_gpu, cupy_on_gpu], ids=lambda move: move.__name__)
def move(request: pytest.FixtureRequest) -> Move:
    chosen: Move = request.param
    chosen(np.zeros(1))  # skips here where it must
    return chosen


def problem(covariance: str, accurate: bool, draw: str = "clouds") -> tuple[Rows, PreparedMixture]:
    """Return rows and a mixture in the product form or in that about its means."""
    rows_of, components = DRAWS[draw]
    case = Case(covariance, Gaussian(COVARIANCES[covariance], 0.0), rows_of, components)
    rows = case.rows(301)
    frame, params = case.begin(rows)
    model = case.model.prepare(params, frame)
    return rows, dataclasses.replace(model, prepared=dataclasses.replace(model.prepared, accurate=accurate))


def close(given: Any, expected: Any) -> None:
    """Ask for records of NumPy arrays that agree to 1e-12 of each array's size."""
    (tree, arrays), (expected_tree, expected_arrays) = dump(given), dump(expected)
    assert arrays.keys() == expected_arrays.keys()
    assert tree["type"] == expected_tree["type"]
    for path, array in expected_arrays.items():
        assert arrays[path].dtype == np.float64
        scale = np.abs(array).max(initial=1e-300)
        np.testing.assert_allclose(arrays[path], array, rtol=0.0, atol=1e-12 * scale, err_msg=path)


@pytest.mark.parametrize("accurate", [True, False], ids=["product-form", "about-means"])
@pytest.mark.parametrize("draw", list(DRAWS))
@pytest.mark.parametrize("covariance", list(COVARIANCES))
def test_statistics_and_posteriors_are_numpys(move: Move, covariance: str, draw: str, accurate: bool) -> None:
    rows, model = problem(covariance, accurate, draw)
    there = Rows.of(move(rows.values), rows.weight)
    expected, given = (reference.summarize((model,), TILE, r)[0] for r in (rows, there))
    close(given, expected)
    assert given.rows == expected.rows
    assert given.weight == pytest.approx(expected.weight, rel=1e-12)
    assert given.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-12)
    answers = []
    for r in (rows, there):
        density, resp = np.empty(len(r)), np.empty((len(r), len(model.log_weights)))
        reference.evaluate(model, TILE, r, density, resp)
        answers.append((density, resp))
    np.testing.assert_allclose(answers[1][0], answers[0][0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(answers[1][1], answers[0][1], rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("accurate", [True, False], ids=["product-form", "about-means"])
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_stored_types_are_widened(move: Move, dtype: type, accurate: bool) -> None:
    rows, model = problem("full", accurate)
    values = (10 * rows.values).astype(dtype)
    expected, given = (reference.summarize((model,), TILE, Rows.of(v, rows.weight))[0] for v in (values, move(values)))
    close(given, expected)


def test_models_of_one_pass_are_kept_apart(move: Move) -> None:
    rows, one = problem("full", accurate=True)
    models = (one, problem("full", accurate=False)[1], problem("tied", accurate=True)[1])
    there = Rows.of(move(rows.values))
    for given, model in zip(reference.summarize(models, TILE, there), models, strict=True):
        close(given, reference.summarize((model,), TILE, Rows.of(rows.values))[0])


def test_rows_beyond_all_reach_are_given_a_finite_answer(move: Move) -> None:
    _, model = problem("full", accurate=False)
    density, resp = np.empty(3), np.empty((3, 3))
    with np.errstate(over="ignore"):
        reference.evaluate(model, TILE, Rows.of(move(np.full((3, 4), 1e200))), density, resp)
    assert np.isfinite(density).all()
    np.testing.assert_allclose(resp.sum(axis=1), 1.0)


def test_parameters_are_moved_once_and_forgotten_with_their_model(move: Move) -> None:
    values, model = problem("diag", accurate=False)
    rows = Rows.of(move(values.values))
    reference.summarize((model,), TILE, rows)
    first, second = (tile.arrays.moved(model.prepared.means, model.prepared) for tile in (rows[:9], rows[9:]))
    assert first is second
    assert len(rows.workspace._kept) > 0
    del model
    gc.collect()
    assert len(rows.workspace._kept) == 0


def test_rows_travel_without_their_memory() -> None:
    rows, model = problem("full", accurate=True)
    fresh = len(pickle.dumps(Rows.of(rows.values, rows.weight)))
    reference.summarize((model,), TILE, rows)
    assert len(pickle.dumps(rows)) <= fresh + 1000
