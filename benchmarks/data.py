"""The rows that every benchmark of the kernel is measured on."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["DEVIATION", "Array", "Shape", "clouds", "shapes", "spheres"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, int, int]  # rows, columns, components
DEVIATION = 0.25  # of a cloud: a density is then near 1 whatever D, and what Spark adds to it, 2.2e-16, is nothing
LEAST, MOST = 0.3, 3.0  # eigenvalues of covariances, times DEVIATION squared
APART = 3.0  # deviations between two spheres, on average: every row has a share in every component, whatever D


def shapes(text: str) -> list[Shape]:
    """Return the shapes of a list such as 400000x8x8,100000x32x32."""
    return [(n, d, k) for n, d, k in (map(int, one.split("x")) for one in text.split(","))]


def clouds(shape: Shape) -> tuple[Array, Array]:
    """Return rows (n, d) and means (k, d) to start from, beside the true ones.

    Weights are Dirichlet(5), means DEVIATION · N(0, I), covariances have random orientations and eigenvalues
    log-uniform between 0.3 and 3 of DEVIATION squared: the overlapping problems of the driver's benchmarks.
    """
    n, d, k = shape
    random = np.random.default_rng(0)
    means = DEVIATION * random.standard_normal((k, d))
    label = random.choice(k, size=n, p=random.dirichlet(np.full(k, 5.0)))
    rows = np.empty((n, d))
    for i in range(k):
        turn = np.linalg.qr(random.standard_normal((d, d)))[0]
        scale = DEVIATION * np.sqrt(np.exp(random.uniform(np.log(LEAST), np.log(MOST), d)))
        mine = label == i
        rows[mine] = means[i] + (random.standard_normal((int(mine.sum()), d)) * scale) @ turn.T
    return rows, means + 0.1 * DEVIATION * random.standard_normal((k, d))


def spheres(shape: Shape) -> tuple[Array, Array]:
    """Return rows of spheres of one size that overlap so much that nothing can be left out, and means beside theirs."""
    n, d, k = shape
    random = np.random.default_rng(0)
    means = DEVIATION * APART / np.sqrt(2 * d) * random.standard_normal((k, d))
    rows = means[random.integers(k, size=n)] + DEVIATION * random.standard_normal((n, d))
    return rows, means + 0.1 * DEVIATION * random.standard_normal((k, d))
