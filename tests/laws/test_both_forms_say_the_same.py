import numpy as np
import pytest

from dask_em.families import COVARIANCES, Full, Gaussian
from dask_em.families.factored import FactoredForm
from dask_em.family import ProductForm
from dask_em.mixture import PreparedMixture
from dask_em.rows import Rows
from dask_em.testing import Case
from tests.families import clouds, many_columns

CASES = [Case(name, Gaussian(c, 0.0), clouds, 3) for name, c in COVARIANCES.items()]
CASES.append(Case("few", Gaussian(Full(), 0.0), many_columns, 2))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_density_and_next_parameters_agree(case: Case) -> None:
    rows, family, model = case.rows(), case.family, case.model
    frame, params = case.begin(rows)
    forms = (family.product_form(params.components, frame), family.factored_form(params.components, frame))
    one, other = (PreparedMixture(family, np.log(params.weights), form) for form in forms)
    np.testing.assert_allclose(one.evaluate(rows)[0].copy(), other.evaluate(rows)[0], rtol=1e-11)
    a, b = one.summarize(rows), other.summarize(rows)
    for name in ("means", "covariances"):
        left, right = (getattr(model.maximize(s, params).components, name) for s in (a, b))
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)
    assert np.isclose(model.q(a, params), model.q(b, params), rtol=1e-11)


def test_few_components_in_many_columns_take_a_product_each() -> None:
    case = Case("few", Gaussian(Full(), 0.0), many_columns, 2)
    frame, params = case.begin(case.rows())
    assert isinstance(case.family.prepare(params.components, frame), FactoredForm)


@pytest.mark.parametrize("name", list(COVARIANCES))
def test_distant_components_take_the_accurate_form(name: str) -> None:
    case = Case(name, Gaussian(COVARIANCES[name], 0.0), clouds, 3)
    rows = case.rows()
    frame, params = case.begin(rows)
    assert isinstance(case.family.prepare(params.components, frame), ProductForm)
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
        assert isinstance(case.family.prepare(params.components, frame), FactoredForm)
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
