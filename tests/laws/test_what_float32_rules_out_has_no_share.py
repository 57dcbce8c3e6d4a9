"""Which components are near is told in float32 first: no bit of an answer is another for it, whatever the data."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from dask_em.families import Full, Gaussian
from dask_em.families.gaussian import GaussianParameters
from dask_em.kernel import compiled_kernel, log_density, responsibilities
from dask_em.mixture import Free, Mixture, MixtureParameters, PreparedMixture
from dask_em.rows import Frame, Rows, Workspace

pytestmark = pytest.mark.skipif(compiled_kernel() is None, reason="the NumPy kernel looks at all components: no numba")

ALONE = 90  # rows that are too few to be judged in float32 first
KINDS = {
    "apart": (9.0, 1.0, 1.0),  # distance of the means in deviations, ratio of the deviations, scale
    "touching": (4.0, 1.0, 1.0),
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


def test_where_components_lie_apart_most_are_ruled_out() -> None:
    model, rows = mixture("apart", 32)
    compiled, screening, layout = (
        importlib.import_module(f"dask_em.kernel.{name}") for name in ("compiled", "screening", "layout")
    )
    packed = layout.pack(model)
    space = layout.room(packed, 960, Workspace())
    n = compiled._enter(rows.values, packed.centre, 0, 288, packed.shape[3], space[0], layout.STRETCH)
    screening.screen(0, n, packed.shape, packed.model, space)
    looked_at = space[1].reshape(-1, len(space[3]))[: packed.shape[0], :288] > -1e300
    assert looked_at.any(axis=0).all()
    assert looked_at.mean() < 0.2
