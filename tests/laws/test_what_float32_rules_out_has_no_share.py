"""Which components are near is told in float32 first: no bit of an answer is another for it, whatever the data.

Sums may take float32's word for shares that are so small that it is right to 1e-14 of a row.
"""

from __future__ import annotations

import functools
import importlib
import operator
from typing import Any

import numpy as np
import pytest

from dask_em.families import Full, Gaussian
from dask_em.families.gaussian import GaussianParameters
from dask_em.kernel import compiled_kernel, log_density, responsibilities, summarize
from dask_em.mixture import Free, Mixture, MixtureParameters, PreparedMixture
from dask_em.rows import Frame, Rows, Workspace

pytestmark = pytest.mark.skipif(compiled_kernel() is None, reason="the NumPy kernel looks at all components: no numba")

ALONE = 90  # rows that are too few to be judged in float32 first
KINDS = {
    "apart": (9.0, 1.0, 1.0),  # distance of the means in deviations, ratio of the deviations, scale
    "touching": (4.0, 1.0, 1.0),
    "overlapping": (1.2, 2.0, 1.0),
    "stretched": (9.0, 1e3, 1.0),
    "flat": (9.0, 1e7, 1.0),
    "tiny": (9.0, 3.0, 1e-25),
    "huge": (9.0, 3.0, 1e25),
    "beyond float32": (9.0, 3.0, 1e60),
}


def mixture(kind: str, d: int, k: int = 8) -> tuple[PreparedMixture, Rows]:
    """Return a mixture of k Gaussians with covariances of random orientations, and rows of it with some far away."""
    distance, ratio, scale = KINDS[kind]
    random = np.random.default_rng(d)
    turns = np.linalg.qr(random.standard_normal((k, d, d)))[0]
    deviations = scale * np.exp(random.uniform(-np.log(ratio), 0.0, (k, d)))
    means = distance * scale * random.standard_normal((k, d)) / np.sqrt(2.0)
    covariances = (turns * deviations[:, None] ** 2) @ turns.transpose(0, 2, 1)
    label = random.integers(k, size=1500)
    rows = means[label] + np.einsum("nij,nj->ni", turns[label], deviations[label] * random.standard_normal((1500, d)))
    rows[300], rows[700, 0], rows[1100] = 1e6 * rows[300], 1e30 * scale, 0.0
    rows[1200] = (means[0] + means[1]) / 2
    weights = random.dirichlet(np.ones(k))
    weights[3] = 0.0
    params = MixtureParameters(weights / weights.sum(), GaussianParameters(means, covariances))
    with np.errstate(divide="ignore"):
        return Mixture(Gaussian(Full(), 0.0), Free()).prepare(params, Frame.identity(d)), Rows.of(rows)


@pytest.mark.parametrize("d", [20, 37, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_get_the_bits_that_they_get_alone(kind: str, d: int) -> None:
    model, rows = mixture(kind, d)
    density, resp = (answer(model, 960, rows) for answer in (log_density, responsibilities))
    for at in range(0, len(rows), ALONE):
        few = Rows.of(rows.values[at : at + ALONE])
        np.testing.assert_array_equal(log_density(model, 960, few), density[at : at + ALONE])
        np.testing.assert_array_equal(responsibilities(model, 960, few), resp[at : at + ALONE])
    assert np.isfinite(density).all()


def without_outliers(rows: Rows) -> Rows:
    """Return rows without those far away, beside which float32 is trusted with next to nothing."""
    return Rows.of(np.delete(rows.values, [300, 700], axis=0))


@pytest.mark.parametrize("outliers", [True, False])
@pytest.mark.parametrize("d", [20, 37])
@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_those_of_rows_alone(kind: str, d: int, outliers: bool) -> None:
    model, rows = mixture(kind, d)
    rows = rows if outliers else without_outliers(rows)
    whole = summarize((model,), 960, rows).members[0]
    parts = [summarize((model,), 960, Rows.of(rows.values[at : at + ALONE])) for at in range(0, len(rows), ALONE)]
    alone = functools.reduce(operator.add, parts).members[0]
    np.testing.assert_allclose(whole.counts, alone.counts, rtol=1e-13, atol=1e-14 * len(rows))
    off = np.abs(whole.components.products - alone.components.products)
    assert (off <= 1e-13 * np.abs(alone.components.products).max(axis=1, keepdims=True)).all()
    assert whole.log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-13)


def screened(model: PreparedMixture, rows: Rows, exact: bool) -> np.ndarray[Any, Any]:
    """Return log π_k p_k(x) of the first 288 rows, (k, 288), as float32 leaves them to the softmax."""
    names = ("compiled", "screening", "layout", "room")
    compiled, screening, layout, rooms = (importlib.import_module(f"dask_em.kernel.{name}") for name in names)
    packed = layout.pack(model)
    room = rooms.room(packed, 960, Workspace())
    wide = -(-packed.shape[1] // layout.WIDE) * layout.WIDE
    for x, width in ((room.rows, packed.shape[3]), (room.screen.rows, wide)):
        n = compiled._enter(rows.values, packed.centre, 0, 288, width, x, layout.STRETCH)
    screening.screen(0, n, exact, packed.shape, packed.model, room)
    return room.joint.reshape(-1, len(room.scale))[: packed.shape[0], :288]


def test_where_components_lie_apart_most_are_ruled_out() -> None:
    looked_at = screened(*mixture("apart", 32), exact=True) > -1e300
    assert looked_at.any(axis=0).all()
    assert looked_at.mean() < 0.2


@pytest.mark.parametrize("d", [20, 48])
def test_what_float32_is_trusted_with_is_right_to_1e_14_of_a_row(d: int) -> None:
    model, rows = mixture("overlapping", d)
    trusted, exact = (screened(model, without_outliers(rows), each) for each in (False, True))
    shares, right = (np.exp(each - exact.max(axis=0)) for each in (trusted, exact))
    assert ((trusted != exact) & (right > 1e-17)).mean() > 0.02
    assert np.abs(shares - right).max() < 1e-14
    assert right[trusted != exact].max() < 1e-10
