"""Full passes of a fit that begins on a sample, beside plain EM from k-means and the best of ten cold fits.

    pip install -e '.[benchmarks]'
    python benchmarks/warm.py [--rows 550000] [--cases synthetic,pixels,patches] [--seeds 5] [--cold 10]

A warm fit is what ``GaussianMixture`` does by default, with a tolerance so small that its whole approach is seen, once
with one start and once with ten (fitted to the sample; at most two of them see all rows, in the same passes). Plain EM
begins at k-means on the sample; a cold fit takes EM-LBFGS's steps from there, over all rows. A limit is the best
objective that a fit has come to; the passes are those until it is within 1e-6 nats per row of that. Counts do not
depend on the machine's speed. A line is printed as each case ends.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from passes import NEAR, RISING, SHAPES, overlapping
from sklearn.datasets import load_sample_images

from dask_em import GaussianMixture, open_source
from dask_em.driver import LBFGS, Iteration, State, Stopping, iterate
from dask_em.driver.initialization import STARTS
from dask_em.estimators.fitted import model_size
from dask_em.execution import open_reducer, single_threaded_blas
from dask_em.families import Full, Gaussian
from dask_em.mixture import Free, Mixture
from dask_em.plan import plan
from dask_em.rows import Frame, Rows
from dask_em.storage.examples import photo_patches

Array = np.ndarray[Any, Any]
TOLERANCE, REGULARIZATION, WARM_MOST = 1e-10, 1e-6, 500
STARTED = (1, 10)  # starts of a warm fit
SAME = 1e-3  # nats per row: the same optimum
COLD_ROWS = 20_000  # that k-means begins on


@dataclass(frozen=True)
class Case:
    """Rows (n, d), and how many components to fit from which seed."""

    name: str
    rows: Array
    components: int
    seed: int


@dataclass(frozen=True)
class Limit:
    """Where a fit came to, in how many passes over all rows, and whether it was still rising."""

    objective: float  # nats per row
    passes: int
    rising: bool = False


@dataclass(frozen=True)
class Found:
    """What was measured in a case."""

    warm: dict[int, Limit]  # by starts
    em: Limit
    cold: list[Limit]


def limit(parts: Iterator[Iteration], most: int) -> Limit:
    """Return the limit of one fit's starts together: they share each pass."""
    objectives: dict[int, float] = {}
    for part in parts:
        number = part.entry.number
        objectives[number] = max(objectives.get(number, -np.inf), part.entry.objective)
    best = np.maximum.accumulate([objectives[number] for number in sorted(objectives)])
    rising = len(best) == most and bool(best[-1] - best[-max(most // 10, 2)] > RISING)
    return Limit(float(best[-1]), int(np.argmax(best >= best[-1] - NEAR)) + 1, rising)


def fitted(case: Case, starts: int, accelerate: bool, most: int) -> Limit:
    """Return the limit of the estimator's own fit."""
    model = GaussianMixture(
        case.components, n_init=starts, accelerate=accelerate, tol=TOLERANCE, max_iter=most, random_state=case.seed
    )
    return limit(model.iterate(case.rows), most)


def cold(case: Case, fits: int, most: int) -> list[Limit]:
    """Return the limits of EM-LBFGS over all rows from k-means on a sample, so many times, one after the other."""
    x, model = case.rows, Mixture(Gaussian(Full(), REGULARIZATION, blurred=True), Free())
    frame = Frame(x.mean(axis=0, dtype=np.float64))
    source, limits = open_source(x), []
    with open_reducer(plan(source, source.atoms(), model_size(model, case.components, x.shape[1])).layout) as reducer:
        for seed in range(fits):
            random = np.random.RandomState(1000 * case.seed + seed)
            sample = Rows.of(np.asarray(x[random.permutation(len(x))[:COLD_ROWS]], np.float64) - frame.centre)
            start = model.start(sample, STARTS["kmeans"](sample, case.components, random))
            state = State(model, frame, start, Stopping(1e-8, max_passes=most), method=LBFGS())
            limits.append(limit(iterate([state], reducer), most))
    return limits


def measured(case: Case, colds: int, most: int) -> Found:
    """Fit a case in all ways, and print a line."""
    began = time.perf_counter()
    warm = {starts: fitted(case, starts, True, WARM_MOST) for starts in STARTED}
    em = fitted(case, 1, False, most)
    found = Found(warm, em, cold(case, colds, most))
    n, d = case.rows.shape
    best = max(each.objective for each in found.cold)
    told = [f"{case.name} {n:,} x {d}, K = {case.components}, seed {case.seed}:"]
    told += [f"warm {k}: {w.passes} passes, {w.objective - best:+.5f};" for k, w in warm.items()]
    told += [f"EM {em.passes}{'+' * em.rising} passes;"]  # it climbs the likelihood that is not blurred
    told += [f"cold {np.median([each.passes for each in found.cold]):.0f} passes, best {best:.5f},"]
    told += [f"median {np.median([each.objective for each in found.cold]) - best:+.5f};"]
    print(*told, f"{time.perf_counter() - began:.0f} s", flush=True)
    return found


def tell(title: str, found: Sequence[Found]) -> None:
    """Print what line 2 asks for."""
    print(f"\n{title}: {len(found)} cases")
    em = np.array([each.em.passes for each in found])
    print(f"  EM: median {np.median(em):.0f} passes, {sum(each.em.rising for each in found)} still rising")
    passes = np.concatenate([[fit.passes for fit in each.cold] for each in found])
    print(f"  cold EM-LBFGS: median {np.median(passes):.0f} passes")
    for starts in STARTED:
        warm = np.array([each.warm[starts].passes for each in found])
        best = np.array([each.warm[starts].objective - max(c.objective for c in each.cold) for each in found])
        middle = np.array([each.warm[starts].objective - np.median([c.objective for c in each.cold]) for each in found])
        print(
            f"  warm, {starts} start(s): median {np.median(warm):.0f}, 90 % {np.quantile(warm, 0.9):.0f}, most "
            f"{warm.max()} passes; EM's times {np.median(warm / em):.3f} in the median; less the best cold fit: within "
            f"{SAME:g} or above in {np.mean(best > -SAME):.0%}, median {np.median(best):+.5f}, least {best.min():+.5f};"
            f" less the median cold fit: median {np.median(middle):+.5f}",
            flush=True,
        )


def synthetic(rows: int, seeds: int, _: Sequence[int]) -> Iterator[Case]:
    """Yield the overlapping mixtures of passes.py, whose K are their own."""
    for shape in SHAPES:
        for seed in range(seeds):
            yield Case(f"overlapping, apart {shape[2]:g}", overlapping(*shape, seed, rows), shape[1], seed)


def photographs(name: str, made: Callable[[], Array]) -> Callable[[int, int, Sequence[int]], Iterator[Case]]:
    """Return what yields cases of real rows, standardised, at most so many."""

    def cases(rows: int, seeds: int, sizes: Sequence[int]) -> Iterator[Case]:
        x = np.asarray(made(), float)
        x = x[np.random.default_rng(0).permutation(len(x))[:rows]]
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        for components in sizes:
            for seed in range(seeds):
                yield Case(name, x, components, seed)

    return cases


CASES = {
    "synthetic": synthetic,
    "pixels": photographs(
        "pixels", lambda: np.concatenate([image.reshape(-1, 3) for image in load_sample_images().images])
    ),
    "patches": photographs("patches", photo_patches),
}


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="synthetic,pixels,patches")
    parser.add_argument("--rows", type=int, default=550_000, help="of each problem, at most")
    parser.add_argument("--seeds", type=int, default=4, help="of each shape, of each K")
    parser.add_argument("--cold", type=int, default=10, help="cold fits of a case")
    parser.add_argument("--most", type=int, default=2_000, help="passes of EM and of a cold fit")
    parser.add_argument("--components", default="8,16", help="K of the real rows, with commas")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.components.split(",")]
    warnings.simplefilter("ignore")  # starts of k-means
    with single_threaded_blas():
        for name in arguments.cases.split(","):
            cases = CASES[name](arguments.rows, arguments.seeds, sizes)
            tell(name, [measured(case, arguments.cold, arguments.most) for case in cases])


if __name__ == "__main__":
    main()
