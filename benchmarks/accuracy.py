"""Digits that are kept: log-densities and covariances of one pass, against the same in fifty digits by mpmath.

    pip install -e '.[benchmarks]'
    python benchmarks/accuracy.py

Four kinds of covariance, conditions κ from 1 to 1e12, data moved by up to 1e8 standard deviations, 2 to 64 columns,
stored in float64 and in float32. The truth is that of the stored values and of the parameters as float64 numbers, both
less the frame's centre. Writes the tables of docs/accuracy.md and prints what is worse than promised; takes minutes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mpmath import mpf
from scipy.linalg import solve_triangular
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from truth import Problem, Setting, draw, exact_covariances, exact_log_density, structured

from dask_em.families import COVARIANCES
from dask_em.kernel import log_density, reference, summarize
from dask_em.rows import Frame, Rows

__all__ = ["CHOLESKY", "LIMIT", "OURS", "REFERENCE", "SKLEARN", "covariance_errors", "density_errors"]

Array = np.ndarray[Any, Any]
Errors = dict[str, float]
KAPPAS, WIDTHS = (1.0, 1e4, 1e6, 1e8, 1e12), (2, 8, 16, 32, 64)
MOVED = tuple((dtype, offset) for dtype in (np.float64, np.float32) for offset in (1.0, 1e4, 1e8))
LEARNT = ((np.float64, 1.0), (np.float64, 1e8), (np.float32, 1e4))  # float32 has no spread left at 1e8
POINTS, ROWS_PER_COLUMN = 32, 4  # rows whose log-density is compared; rows of an M-step, for two components
SHARING = {16: 6}  # components of an M-step: so many that both kernels share features there
TILE = 1024
NO_SPREAD = 1e-30  # of variances beside 1 to 1e-12: rows of other components leave such traces in a constant column
WORSE, NEGLIGIBLE = 10, 1e-6  # times the Cholesky form's error, or nats: what may be lost
OWED, UP_TO = 1e-7, 1e4  # relative error of a covariance that is owed up to this condition
OURS, REFERENCE, CHOLESKY, SKLEARN, LIMIT = "dask_em", "NumPy kernel", "Cholesky form", "scikit-learn", "limit"
PAGE = Path(__file__).parent.parent / "docs" / "accuracy.md"
BEGIN, END = "<!-- tables: python benchmarks/accuracy.py -->\n", "<!-- end of tables -->\n"


def cholesky_log_joint(problem: Problem) -> Array:
    """Return log π_k p_k(x), (k, n), by a triangular solve of x − μ."""
    joint = []
    for weight, mean, matrix in zip(problem.weights, problem.means, problem.dense, strict=True):
        factor = np.linalg.cholesky(matrix)
        z = solve_triangular(factor, (problem.rows - mean).T, lower=True)
        normaliser = len(mean) / 2 * np.log(2 * np.pi) + np.log(np.diagonal(factor)).sum()
        joint.append(np.log(weight) - normaliser - 0.5 * (z * z).sum(axis=0))
    return np.stack(joint)


def cholesky_covariances(problem: Problem) -> Array:
    """Return the covariances, (k, d, d), with sums about the new means: a second look at the rows."""
    joint = cholesky_log_joint(problem)
    resp = np.exp(joint - logsumexp(joint, axis=0))
    counts = resp.sum(axis=1)
    y = problem.rows - (resp @ problem.rows / counts[:, None])[:, None, :]
    return structured(problem.setting.name, (y * resp[:, :, None]).transpose(0, 2, 1) @ y, counts)


def covariances_of_scikit_learn(problem: Problem) -> Array | None:
    """Return the covariances, (k, d, d), after one iteration; None where scikit-learn refuses."""
    kind, name = COVARIANCES[problem.setting.name], problem.setting.name
    model = GaussianMixture(
        len(problem.weights),
        covariance_type=name,
        max_iter=1,
        reg_covar=0.0,
        init_params="random_from_data",
        random_state=0,
        weights_init=problem.weights,
        means_init=problem.means + problem.centre,
        precisions_init=kind.precision(kind.factor(problem.covariances)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            model.fit(problem.values)
        except ValueError:
            return None
    return kind.dense(np.asarray(model.covariances_, np.float64), *problem.means.shape)


def density_errors(setting: Setting, n: int = POINTS) -> Errors:
    """Return the largest error of a log-density, nats, and what it may be."""
    problem = draw(setting, n, max(3, setting.columns // 4 + 2))  # so many that both kernels share features
    prepared, rows = problem.mixture.prepare(problem.params, Frame(problem.centre)), Rows.of(problem.values)
    plain = np.empty(len(rows))
    reference.evaluate(prepared, TILE, rows, plain, None)
    found = {
        OURS: log_density(prepared, TILE, rows),
        REFERENCE: plain,
        CHOLESKY: logsumexp(cholesky_log_joint(problem), axis=0),
    }
    exact = exact_log_density(problem)
    errors = {
        name: max(float(abs(mpf(value) - right)) for value, right in zip(values.tolist(), exact, strict=True))
        for name, values in found.items()
    }
    spacing = float(np.spacing(max(abs(float(value)) for value in exact)))  # of float64 numbers: nobody can do better
    return errors | {LIMIT: max(NEGLIGIBLE, WORSE * max(errors[CHOLESKY], spacing))}


def covariance_errors(setting: Setting) -> Errors | None:
    """Return the relative error of a variance after one M-step, worst component and direction, and what it may be.

    NaN where a competitor refuses; None where the stored rows have no spread in some direction.
    """
    components = SHARING.get(setting.columns, 2)
    problem = draw(setting, ROWS_PER_COLUMN * max(setting.columns, 8) * components // 2 + 1, components)
    exact = exact_covariances(problem)
    if not (np.diagonal(exact, axis1=1, axis2=2) > NO_SPREAD).all():
        return None
    model, params, rows = problem.mixture, problem.params, Rows.of(problem.values)
    prepared = (model.prepare(params, Frame(problem.centre)),)
    stats = {OURS: summarize(prepared, TILE, rows).members[0], REFERENCE: reference.summarize(prepared, TILE, rows)[0]}
    kind, shape = COVARIANCES[setting.name], problem.means.shape
    found: dict[str, Array | None] = {
        name: kind.dense(model.maximize(s, params).components.covariances, *shape) for name, s in stats.items()
    }
    found |= {CHOLESKY: cholesky_covariances(problem), SKLEARN: covariances_of_scikit_learn(problem)}
    roots = np.linalg.inv(np.linalg.cholesky(exact.astype(np.float64)))
    errors = {}
    for name, covariances in found.items():
        difference = np.full(exact.shape, np.nan) if covariances is None else covariances.astype(object) - exact
        relative = roots @ difference.astype(np.float64) @ roots.transpose(0, 2, 1)
        errors[name] = float("nan") if covariances is None else float(np.linalg.norm(relative, 2, axis=(1, 2)).max())
    return errors | {LIMIT: max(OWED if setting.kappa <= UP_TO else 0.0, WORSE * errors[CHOLESKY])}


def table(name: str, moved: Any, cell: Callable[[Setting], str]) -> str:
    """Return a table of Markdown for one kind of covariance."""
    lines = ["| stored as | D | moved by | " + " | ".join(f"κ = {written(kappa)}" for kappa in KAPPAS) + " |"]
    lines.append("|---|---:|---:|" + "---|" * len(KAPPAS))
    for dtype, offset in moved:
        for columns in WIDTHS:
            cells = [cell(Setting(name, columns, kappa, offset, dtype)) for kappa in KAPPAS]
            lines.append(f"| {np.dtype(dtype).name} | {columns} | {written(offset)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def written(value: float) -> str:
    """Return a number in one digit."""
    if np.isnan(value):
        return "fails"
    digits, _, power = f"{value:.0e}".partition("e")
    return f"{digits}e{int(power)}" if value not in {0.0, 1.0} else digits


def main() -> None:
    worse, cells = [], 0

    def cell(measure: Callable[[Setting], Errors | None], names: tuple[str, ...], setting: Setting) -> str:
        nonlocal cells
        errors = measure(setting)
        if errors is None:
            return "none"
        cells += 1
        shown = " / ".join(written(errors[name]) for name in names)
        if errors[OURS] > errors[LIMIT]:
            where = (
                f"{setting.name}, {np.dtype(setting.dtype).name}, D = {setting.columns}, κ = {written(setting.kappa)}"
            )
            worse.append(f"* {where}, moved by {written(setting.offset)}: {shown}")
        return shown

    of_densities = partial(cell, density_errors, (OURS, REFERENCE, CHOLESKY))
    of_covariances = partial(cell, covariance_errors, (OURS, REFERENCE, CHOLESKY, SKLEARN))
    text = ""
    for title, moved, of in (("Log-densities", MOVED, of_densities), ("Covariances", LEARNT, of_covariances)):
        for name in COVARIANCES:
            text += f"\n### {title}, {name}\n\n{table(name, moved, of)}\n"
            print(title, name, flush=True)
    found = "\n".join([f"Cells that are worse than the two rules above allow: {len(worse)} of {cells}.", "", *worse])
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{found.strip()}\n{text}\n{END}{rest.split(END)[1]}")
    print(found)


if __name__ == "__main__":
    main()
