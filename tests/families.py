"""The registry of cases: one line adds a family to every test of the laws."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_em.families import COVARIANCES, Fixed, Full, Gaussian, Poisson
from dask_em.mixture import PartlyFixed
from dask_em.testing import Case

__all__ = ["CASES"]

Array = np.ndarray[Any, Any]


def clouds(random: np.random.Generator, n: int) -> Array:
    """Return rows of three overlapping clouds in four columns."""
    centres = np.array([[0, 0, 0, 0], [2, 1, 0, -1], [-1, 2, 1, 1.0]])
    skew = np.array([[1, 0.5, 0, 0], [0, 1, 0.3, 0], [0, 0, 1, 0.2], [0, 0, 0, 0.5]])
    return centres[random.integers(3, size=n)] + random.standard_normal((n, 4)) @ skew


def one_column(random: np.random.Generator, n: int) -> Array:
    """Return rows of two overlapping clouds in one column."""
    return (random.integers(2, size=n) * 3.0 + random.standard_normal(n))[:, None]


def many_columns(random: np.random.Generator, n: int) -> Array:
    """Return rows of two overlapping clouds in nine columns."""
    mix = np.eye(9) + 0.3 * np.tri(9, k=-1)
    return random.integers(2, size=(n, 1)) * 1.5 + random.standard_normal((n, 9)) @ mix


def counts(random: np.random.Generator, n: int) -> Array:
    """Return rows of two columns of counts, of three kinds."""
    rates = np.array([[1.0, 8.0], [4.0, 2.0], [9.0, 9.0]])
    return random.poisson(rates[random.integers(3, size=n)]).astype(np.float64)


def far(rows: Array) -> Array:
    """Move rows away and make them larger."""
    return rows * 3.0 + 1000.0


FIXED: dict[bool, list[tuple[float, Fixed, dict[str, Any]]]] = {  # by whether the covariance is shared
    False: [
        (0.0, Fixed((0, 1), (1, 2)), {"move": far, "weights": PartlyFixed((1,)), "order_free": False}),
        (1e-2, Fixed((2,), (0,)), {"weights": PartlyFixed((0, 2)), "order_free": False}),
    ],
    True: [
        (1e-2, Fixed((0, 1), ()), {"weights": PartlyFixed((1,)), "order_free": False}),
        (0.0, Fixed((), (0, 1, 2)), {"move": far, "weights": PartlyFixed((0, 1, 2)), "order_free": False}),
    ],
}

CASES = [
    Case("gaussian-full-few", Gaussian(Full(), 0.0), many_columns, 2, far),
    *(Case(f"gaussian-{name}", Gaussian(c, 0.0), clouds, move=far) for name, c in COVARIANCES.items()),
    *(Case(f"gaussian-{name}-one-column", Gaussian(c, 0.0), one_column, 2, far) for name, c in COVARIANCES.items()),
    *(Case(f"gaussian-{name}-regularised", Gaussian(c, 1e-2), clouds, rises=False) for name, c in COVARIANCES.items()),
    Case("poisson", Poisson(), counts),
    *(Case(f"gaussian-{name}-blurred", Gaussian(c, 1e-2, blurred=True), clouds) for name, c in COVARIANCES.items()),
    *(
        Case(f"gaussian-{name}-fixed-{i}", Gaussian(c, reg, reg > 0, fixed=fixed), clouds, **partly)
        for name, c in COVARIANCES.items()
        for i, (reg, fixed, partly) in enumerate(FIXED[c.is_shared])
    ),
]
