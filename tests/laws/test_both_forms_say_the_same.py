import numpy as np
import pytest

from dask_em.families import Full, Gaussian
from dask_em.families.factored import FactoredForm
from dask_em.mixture import Free, Mixture, PreparedMixture
from dask_em.testing import Case
from tests.families import clouds, many_columns


def prepared(case: Case, form: object) -> PreparedMixture:
    params = case.begin(case.rows())[1]
    return PreparedMixture(case.family, np.log(params.weights), form)


@pytest.mark.parametrize("case", [Case("few", Gaussian(Full(), 0.0), many_columns, 2), Case("", Gaussian(), clouds, 3)])
def test_density_and_next_parameters_agree(case: Case) -> None:
    rows = case.rows()
    frame, params = case.begin(rows)
    family = case.family
    factor = family.covariance.factor(params.components.covariances)
    constant = family.covariance.half_log_determinant(factor, rows.values.shape[1]) - rows.values.shape[1] / 2 * np.log(
        2 * np.pi
    )
    one = prepared(case, family.product_form(params.components, frame))
    other = prepared(case, FactoredForm(constant, factor, params.components.means, frame))
    np.testing.assert_allclose(one.evaluate(rows)[0].copy(), other.evaluate(rows)[0], rtol=1e-11)
    model = Mixture(family, Free())
    a, b = one.summarize(rows), other.summarize(rows)
    for name in ("means", "covariances"):
        left, right = (getattr(model.maximize(s, params).components, name) for s in (a, b))
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)
    assert np.isclose(model.q(a, params), model.q(b, params), rtol=1e-11)


def test_few_components_in_many_columns_take_a_product_each() -> None:
    case = Case("few", Gaussian(Full(), 0.0), many_columns, 2)
    frame, params = case.begin(case.rows())
    assert isinstance(case.family.prepare(params.components, frame), FactoredForm)
