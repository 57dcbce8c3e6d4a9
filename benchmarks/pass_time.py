"""A pass of ours against an iteration of scikit-learn's: same rows, same start, same two cores, in memory.

    python benchmarks/pass_time.py [--iterations 10] [--repeats 3]

Every figure is of one run; the ratio is what counts, since machines drift.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture

from dask_em import GaussianMixture

SHAPES = [(400_000, 8, 8), (200_000, 16, 16), (100_000, 32, 32), (30_000, 64, 64)]


def rows(n: int, d: int, k: int) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """Return rows of k overlapping clouds and a start near them."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((k, d))
    x = centres[random.integers(k, size=n)] + random.standard_normal((n, d))
    start = {
        "weights_init": np.full(k, 1 / k),
        "means_init": centres + 0.1 * random.standard_normal((k, d)),
        "precisions_init": np.tile(np.eye(d), (k, 1, 1)),
    }
    return x, start


def fitted(estimator: type, x: np.ndarray[Any, Any], start: dict[str, Any], iterations: int) -> object:
    """Fit for so many iterations."""
    return estimator(**start, tol=0.0, max_iter=iterations).fit(x)


def seconds_of_an_iteration(fit: Callable[[int], object], iterations: int) -> float:
    """Return the time of one iteration: many less one, so that what happens once cancels."""

    def timed(count: int) -> float:
        began = time.perf_counter()
        fit(count)
        return time.perf_counter() - began

    return (timed(1 + iterations) - timed(1)) / iterations


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # iterations are counted, not convergence
    print(
        f"{'N':>8} {'D':>3} {'K':>3} {'scikit-learn':>13} {'dask_em':>9} {'ratio':>7}   seconds an iteration, medians"
    )
    for n, d, k in SHAPES:
        x, start = rows(n, d, k)
        theirs, ours = [], []
        for _ in range(arguments.repeats):  # in turn, so that drift meets both
            for estimator, times in ((SklearnGaussianMixture, theirs), (GaussianMixture, ours)):
                fit = partial(fitted, estimator, x, {"n_components": k, **start})
                times.append(seconds_of_an_iteration(fit, arguments.iterations))
        a, b = float(np.median(theirs)), float(np.median(ours))
        print(f"{n:>8} {d:>3} {k:>3} {a:>13.4f} {b:>9.4f} {a / b:>7.1f}")


if __name__ == "__main__":
    main()
