"""Problems of known condition and offset, and their log-densities and covariances in fifty digits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from mpmath import mp, mpf

from dask_em.families import COVARIANCES, Gaussian
from dask_em.families.gaussian import GaussianParameters
from dask_em.mixture import Free, Mixture, MixtureParameters

__all__ = ["Problem", "Setting", "draw", "exact_covariances", "exact_log_density", "structured"]

Array = np.ndarray[Any, Any]
mp.dps = 50


@dataclass(frozen=True)
class Setting:
    """What a cell of the tables stands for."""

    name: str  # of the covariance
    columns: int
    kappa: float
    offset: float  # standard deviations, of the widest direction
    dtype: type[np.floating[Any]] = np.float64


@dataclass(frozen=True)
class Problem:
    """Stored rows, and parameters less the centre: the numbers that every competitor and the truth start from."""

    setting: Setting
    values: Array  # (n, d), as stored
    centre: Array  # (d,)
    weights: Array  # (k,)
    means: Array  # (k, d)
    covariances: Array  # in the kind's shape

    @property
    def mixture(self) -> Mixture[Gaussian]:
        return Mixture(Gaussian(COVARIANCES[self.setting.name], 0.0), Free())

    @property
    def params(self) -> MixtureParameters:
        return MixtureParameters(self.weights, GaussianParameters(self.means, self.covariances))

    @property
    def dense(self) -> Array:
        return COVARIANCES[self.setting.name].dense(self.covariances, *self.means.shape)

    @property
    def rows(self) -> Array:
        """The rows less the centre, in float64."""
        return np.asarray(self.values.astype(np.float64) - self.centre)


def covariances_of(setting: Setting, components: int, random: np.random.Generator) -> Array:
    """Return covariances whose variances go from 1 to 1/κ, turned at random; spherical: from component to component."""
    d = setting.columns
    if setting.name == "spherical":
        return np.geomspace(1.0, 1 / setting.kappa, components)
    spectrum = np.geomspace(1.0, 1 / setting.kappa, d)
    if setting.name == "diag":
        return np.stack([random.permutation(spectrum) for _ in range(components)])
    turns = np.linalg.qr(random.standard_normal((components, d, d)))[0]
    matrices = (turns * spectrum) @ turns.transpose(0, 2, 1)
    matrices = (matrices + matrices.transpose(0, 2, 1)) / 2
    return np.asarray(matrices[0] if setting.name == "tied" else matrices)


def draw(setting: Setting, n: int, components: int) -> Problem:
    """Return rows drawn from a mixture, moved and stored."""
    random, d = np.random.default_rng(setting.columns), setting.columns
    covariances = covariances_of(setting, components, random)
    dense = COVARIANCES[setting.name].dense(covariances, components, d)
    means, weights = random.standard_normal((components, d)), random.dirichlet(np.full(components, 20.0))
    of = random.choice(components, n, p=weights)
    noise = (np.linalg.cholesky(dense)[of] @ random.standard_normal((n, d, 1)))[:, :, 0]
    values = (means[of] + noise + setting.offset).astype(setting.dtype)
    centre = values.mean(axis=0, dtype=np.float64)
    return Problem(setting, values, centre, weights, means + (setting.offset - centre), covariances)


@lru_cache(512)
def exact_factor(matrix: bytes, columns: int) -> tuple[list[list[tuple[int, Any]]], list[Any]]:
    """Return the Cholesky factor of a covariance: below the diagonal, what is not zero, and the diagonal."""
    factor = mp.cholesky(mp.matrix(np.frombuffer(matrix).reshape(columns, columns).tolist()))
    below = [[(j, factor[i, j]) for j in range(i) if factor[i, j]] for i in range(columns)]
    return below, [factor[i, i] for i in range(columns)]


def exact_log_joint(problem: Problem, rows: list[list[Any]]) -> list[list[Any]]:
    """Return log π_k p_k(x), (k, n)."""
    joint, d = [], problem.setting.columns
    for weight, mean, matrix in zip(problem.weights, problem.means, problem.dense, strict=True):
        below, diagonal = exact_factor(np.ascontiguousarray(matrix).tobytes(), d)
        constant = mp.log(mpf(weight)) - d * mp.log(2 * mp.pi) / 2 - mp.fsum(mp.log(value) for value in diagonal)
        centred = [mpf(value) for value in mean]
        joint.append([])
        for x in rows:
            z: list[Any] = []
            for i in range(d):
                z.append((x[i] - centred[i] - mp.fdot((u, z[j]) for j, u in below[i])) / diagonal[i])
            joint[-1].append(constant - mp.fdot(z, z) / 2)
    return joint


def exact_rows(problem: Problem) -> list[list[Any]]:
    """Return the stored rows less the centre, (n, d)."""
    centre = [mpf(value) for value in problem.centre]
    return [[mpf(value) - c for value, c in zip(x, centre, strict=True)] for x in problem.values.tolist()]


def exact_log_density(problem: Problem) -> list[Any]:
    """Return log p(x), (n,)."""
    joint = exact_log_joint(problem, exact_rows(problem))
    return [mp.log(mp.fsum(mp.exp(value) for value in column)) for column in zip(*joint, strict=True)]


def exact_covariances(problem: Problem) -> Any:
    """Return the covariances that follow from one M-step, (k, d, d), as objects."""
    rows, d = exact_rows(problem), problem.setting.columns
    joint, scatters, counts = exact_log_joint(problem, rows), [], []
    totals = [mp.fsum(mp.exp(value) for value in column) for column in zip(*joint, strict=True)]
    narrow = problem.setting.name in {"diag", "spherical"}
    columns = list(zip(*rows, strict=True))
    for row in joint:
        resp = [mp.exp(value) / total for value, total in zip(row, totals, strict=True)]
        counts.append(mp.fsum(resp))
        means = [mp.fdot(resp, column) / counts[-1] for column in columns]
        y = [[value - mean for value in column] for column, mean in zip(columns, means, strict=True)]
        weighted = [[r * value for r, value in zip(resp, column, strict=True)] for column in y]
        scatter = np.full((d, d), mpf(0), dtype=object)
        for i in range(d):
            for j in range(i, i + 1 if narrow else d):
                scatter[i, j] = scatter[j, i] = mp.fdot(weighted[i], y[j])
        scatters.append(scatter)
    return structured(problem.setting.name, np.stack(scatters), np.array(counts, object))


def structured(name: str, scatters: Array, counts: Array) -> Array:
    """Return the covariances, (k, d, d), that a kind makes of scatters (k, d, d)."""
    if name == "tied":
        return np.broadcast_to(scatters.sum(axis=0) / counts.sum(), scatters.shape)
    each = scatters / counts[:, None, None]
    if name == "full":
        return np.asarray(each)
    variances = np.diagonal(each, axis1=1, axis2=2)
    if name == "spherical":
        variances = np.broadcast_to(variances.sum(axis=1, keepdims=True) / variances.shape[1], variances.shape)
    return np.asarray(variances[:, :, None] * np.eye(scatters.shape[1], dtype=int))
