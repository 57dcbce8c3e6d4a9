"""Product form, form about the means, and the compiled kernel: one answer to rounding, for every kind of covariance."""

import dataclasses

import numpy as np
import pytest

from dask_em.families import COVARIANCES, Full, Gaussian
from dask_em.kernel import compiled_kernel, log_density, reference, responsibilities, summarize
from dask_em.mixture import MixtureParameters, PreparedMixture
from dask_em.rows import Frame, Rows
from dask_em.testing import Case
from tests.families import clouds, many_columns, one_column

CASES = [Case(name, Gaussian(c, 0.0), clouds, 3) for name, c in COVARIANCES.items()]
CASES += [Case(f"{name}-one-column", Gaussian(c, 0.0), one_column, 2) for name, c in COVARIANCES.items()]
CASES += [Case(f"{name}-nine-columns", Gaussian(c, 0.0), many_columns, 6) for name, c in COVARIANCES.items()]
CASES.append(Case("few", Gaussian(Full(), 0.0), many_columns, 2))


def siblings(case: Case, params: MixtureParameters, frame: Frame) -> list[PreparedMixture]:
    """Return the mixture in the product form and in that about its means."""
    prepared = case.model.prepare(params, frame)
    forms = [dataclasses.replace(prepared.prepared, accurate=accurate) for accurate in (True, False)]
    return [dataclasses.replace(prepared, prepared=form) for form in forms]


@pytest.mark.parametrize("tile_rows", [64, 1000])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_density_and_next_parameters_agree(case: Case, tile_rows: int) -> None:
    rows, model = case.rows(501), case.model
    frame, params = case.begin(rows)
    forms = siblings(case, params, frame)
    answers = [reference.summarize((form,), tile_rows, rows)[0] for form in forms]
    if compiled_kernel() is not None:
        answers += [summarize((form,), tile_rows, rows).members[0] for form in forms]
    best = answers[1]
    for stats in answers:
        assert np.isclose(stats.log_likelihood, best.log_likelihood, rtol=1e-12)
        np.testing.assert_allclose(stats.counts, best.counts, rtol=1e-11)
        for name in ("means", "covariances"):
            left, right = (getattr(model.maximize(s, params).components, name) for s in (stats, best))
            np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)
        assert np.isclose(model.q(stats, params), model.q(best, params), rtol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rows_are_judged_alike_whatever_their_type_and_layout(case: Case, dtype: type) -> None:
    rows = case.rows(101)
    frame, params = case.begin(rows)
    values = np.asfortranarray((10 * rows.values).astype(dtype))
    values.flags.writeable = False
    model = case.model.prepare(params, frame)
    given, plain = Rows.of(values), Rows.of(np.array(values, np.float64))
    density, resp = np.empty(101), np.empty((101, case.components))
    reference.evaluate(model, 64, plain, density, resp)
    np.testing.assert_allclose(log_density(model, 64, given), density, rtol=1e-11)
    np.testing.assert_allclose(responsibilities(model, 64, given), resp, atol=1e-11)


@pytest.mark.parametrize("name", list(COVARIANCES))
def test_rows_beyond_all_reach_are_given_a_finite_answer(name: str) -> None:
    case = Case(name, Gaussian(COVARIANCES[name], 0.0), clouds, 3)
    frame, params = case.begin(case.rows())
    far = Rows.of(np.full((3, 4), 1e200))
    model = siblings(case, params, frame)[1]  # the squares of the product form would overflow to NaN
    with np.errstate(over="ignore"):
        resp = responsibilities(model, 64, far)
        assert np.isfinite(log_density(model, 64, far)).all()
    np.testing.assert_allclose(resp.sum(axis=1), 1.0)


def test_few_components_in_many_columns_take_a_product_each() -> None:
    case = Case("few", Gaussian(Full(), 0.0), many_columns, 2)
    frame, params = case.begin(case.rows())
    assert not case.family.prepare(params.components, frame).accurate


@pytest.mark.parametrize("name", list(COVARIANCES))
def test_distant_components_keep_their_digits(name: str) -> None:
    case = Case(name, Gaussian(COVARIANCES[name], 0.0), clouds, 3)
    rows = case.rows()
    frame, params = case.begin(rows)
    assert case.family.prepare(params.components, frame).accurate
    values = rows.values.copy()
    values[::2] += 1e7
    apart = Case(name, case.family, clouds, 2)
    resp = np.stack([np.arange(len(values)) % 2 == i for i in range(2)]).astype(np.float64)
    mean = np.average(values, axis=0, weights=rows.weight)
    frame = case.family.frame(mean)
    params = apart.model.start(Rows.of(frame.enter(values), rows.weight), resp)
    far = Rows.of(values, rows.weight)
    objectives = []
    for _ in range(8):
        assert not case.family.prepare(params.components, frame).accurate
        stats = apart.pass_over(far, frame, params)
        objectives.append(apart.model.objective(stats, params))
        params = apart.model.maximize(stats, params)
    assert np.diff(objectives).min() > -1e-9
    for i in range(2):
        mine, weight = rows.values[i::2], rows.weight[i::2]
        expected = np.cov(mine.T, bias=True, aweights=weight)
        dense = case.family.covariance.dense(params.components.covariances, 2, 4)[i]
        if name == "full":
            np.testing.assert_allclose(dense, expected, atol=1e-7)
        if name == "diag":
            np.testing.assert_allclose(np.diagonal(dense), np.diagonal(expected), atol=1e-7)
        if name == "spherical":
            np.testing.assert_allclose(dense[0, 0], np.trace(expected) / 4, atol=1e-7)


@pytest.mark.skipif(compiled_kernel() is None, reason="nothing is compiled: no numba")
@pytest.mark.parametrize("apart", [3.0, 30.0, 300.0, 3e3, 3e5])
@pytest.mark.parametrize("name", ["tied", "diag", "spherical"])
def test_squares_are_expanded_only_where_that_costs_no_digits(name: str, apart: float) -> None:
    covariance, d = COVARIANCES[name], 12
    near = np.random.default_rng(1).standard_normal((600, d))
    sign = np.where(np.arange(600) % 2, 1.0, -1.0)[:, None]
    rows = Rows.of(near + apart * sign)
    model = Case(name, Gaussian(covariance, 0.0), clouds, 2).model
    resp = np.stack([sign[:, 0] > 0, sign[:, 0] < 0]).astype(np.float64)
    params = model.start(rows, resp)
    prepared = model.prepare(params, model.components.frame(np.zeros(d)))
    assert prepared.prepared.accurate == (apart < 100.0)
    found = model.maximize(summarize((prepared,), 96, rows).members[0], params).components
    spread = [(near[resp[i] > 0] - near[resp[i] > 0].mean(axis=0)) for i in range(2)]
    own = [np.square(part).mean(axis=0) for part in spread]
    expected = {
        "tied": np.concatenate(spread).T @ np.concatenate(spread) / 600,
        "diag": own,
        "spherical": np.mean(own, 1),
    }
    np.testing.assert_allclose(
        found.covariances, expected[name], rtol=0, atol=2e-12 + 4e-15 * apart
    )  # rows are rounded
