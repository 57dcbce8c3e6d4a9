from typing import Any

import numpy as np
import pytest

from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.families import COVARIANCES, Gaussian
from dask_em.kernel import compiled_kernel, log_density, summarize
from dask_em.mixture import Free, Mixture
from dask_em.rows import Rows
from dask_em.testing import Case

Array = np.ndarray[Any, Any]
pytestmark = pytest.mark.skipif(
    compiled_kernel() is None, reason="float32 products are the compiled kernel's: no numba"
)


def spread(condition: float, d: int = 12) -> Any:
    """Return how to draw rows of three clouds whose covariances have this condition, in directions of their own."""

    def draw(random: np.random.Generator, n: int) -> Array:
        turn = np.linalg.qr(np.random.default_rng(7).standard_normal((d, d)))[0]
        scales = np.sqrt(np.geomspace(1, condition, d))
        return (3 * random.integers(3, size=(n, 1)) + random.standard_normal((n, d))) * scales @ turn

    return draw


def prepared(name: str, condition: float, precision: str) -> tuple[Any, Any, Rows, Any]:
    case = Case(name, Gaussian(COVARIANCES[name], 0.0), spread(condition), 3)
    rows = case.rows(3000)
    frame, params = case.begin(rows)
    model = Mixture(Gaussian(COVARIANCES[name], 0.0, precision=precision), Free())
    return model, params, rows, model.prepare(params, frame)


@pytest.mark.parametrize("name", list(COVARIANCES))
@pytest.mark.parametrize("condition", [1.0, 100.0, 1e4])
def test_the_error_stays_below_what_was_foretold(name: str, condition: float) -> None:
    family, params, rows, form = prepared(name, condition, "auto")
    exact = prepared(name, condition, "float64")[3]
    single = form.prepared.single
    assert single or condition > 1
    foretold = form.prepared.single_error(family.components.mean_squares(params.components))
    assert single == (foretold <= 1e-4)
    if single:
        error = np.abs(log_density(form, 960, rows) - log_density(exact, 960, rows)).max()
        assert 0 < error < 3 * foretold
        one, other = (summarize((f,), 960, rows).members[0] for f in (form, exact))
        assert np.isclose(one.log_likelihood, other.log_likelihood, rtol=1e-6)
        np.testing.assert_allclose(one.counts, other.counts, rtol=1e-4)
        new, right = (family.maximize(s, params).components.covariances for s in (one, other))
        np.testing.assert_allclose(new, right, atol=1e-5 * np.abs(right).max())


def test_ill_conditioned_components_are_multiplied_in_float64() -> None:
    _, _, rows, form = prepared("full", 1e8, "auto")
    exact = prepared("full", 1e8, "float64")[3]
    assert not form.prepared.single
    assert digest(summarize((form,), 960, rows)) == digest(summarize((exact,), 960, rows))


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_values_that_float32_has_no_room_for_are_multiplied_in_float64(scale: float) -> None:
    x = scale * spread(1.0)(np.random.default_rng(0), 2000)
    fits = [GaussianMixture(3, precision=p, reg_covar=0, random_state=0).fit(x) for p in ("auto", "float64")]
    np.testing.assert_array_equal(fits[0].means_, fits[1].means_)


def test_a_fit_ends_where_that_in_float64_ends() -> None:
    x = spread(10.0)(np.random.default_rng(0), 5000)
    auto, exact = (GaussianMixture(3, precision=p, random_state=0, tol=1e-5).fit(x) for p in ("auto", "float64"))
    assert auto.lower_bound_ != exact.lower_bound_
    assert np.isclose(auto.lower_bound_, exact.lower_bound_, atol=1e-4)
    np.testing.assert_allclose(auto.means_, exact.means_, atol=1e-2)
