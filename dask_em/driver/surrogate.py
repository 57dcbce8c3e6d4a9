"""Between two passes over all rows, the next parameters are found on a sample, with what all rows said of the last.

The surrogate likelihood of Jordan, Lee and Yang (2019), "Communication-efficient distributed statistical inference",
Journal of the American Statistical Association 114:668–681, with the expected statistics of EM in place of gradients:

    L̃(θ) = (c L_sample(θ) + <S − c s, A(θ)> + τ Q(θ, θt)) / (1 + τ)

S and s being the statistics of all rows and of the sample at θt, A(θ) the natural parameters, c the rows that one of
the sample stands for, Q(θ, θt) = <S, A(θ)>. At θt its gradient is that of all rows: fixed points are EM's. Its
curvature is the sample's; τ adds that of EM, whose step is what is left as τ grows. EM climbs it with the statistics
c s(θ) / (1 + τ) + S − c s / (1 + τ).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from functools import partial

import numpy as np

from dask_em._record import values_equal
from dask_em.driver.state import State, advance
from dask_em.kernel import summarize
from dask_em.mixture import MixtureGeometry, MixtureParameters, MixtureStatistics
from dask_em.reduction import Reducer

__all__ = ["foreseen"]

PASSES = 40  # over the sample, at most
FAR = 0.5  # in the metric of one row: a sample that sees a maximum so far away sees none
FINEST, COARSEST = 1e-9, 1e-6  # nats per row, to be gained on the sample, where that ends

logger = logging.getLogger("dask_em")

Gather = Callable[[MixtureParameters], MixtureStatistics]


def foreseen(state: State, reducer: Reducer, each: float) -> State:
    """Return a fit between two passes with what the rows of ``reducer``, a sample, foresee as what it evaluates next.

    A row of the sample stands for ``each`` of all. Where it has been wrong too often, the fit goes on by itself.
    """
    if state.foresight is None or not state.running or not state.history:
        return state
    foresight = state.foresight.judged(state.history[-1].kept)
    if foresight.futile:
        return dataclasses.replace(state, foresight=None)
    judged, kept, geometry = dataclasses.replace(state, foresight=foresight), state.kept, state.model.geometry()
    if kept is None or kept.statistics is None or geometry is None or any(state.standing):
        return judged
    left = state.history[-1].left
    if state.stopping.is_met_by(left) or left <= kept.noise:  # the next pass is to confirm it, or tells no difference
        return judged
    if values_equal(state.params, kept.step):  # EM's own is wanted, which cannot fall
        return judged
    stats = dataclasses.replace(kept.statistics, held_out=None)

    def gather(params: MixtureParameters) -> MixtureStatistics:
        kernel = partial(summarize, (state.model.prepare(params, state.frame),), reducer.layout.tile_rows)
        found: MixtureStatistics = each * reducer.total(kernel).members[0]
        return found

    here, place, whiten = gather(kept.params), geometry.coordinates(kept.params), geometry.whitening(kept.params)
    while True:
        top = _top(judged, foresight.damping, stats, here, gather, geometry)
        if top is not None and np.linalg.norm(whiten(step := geometry.coordinates(top) - place)) <= FAR:
            corrected, foresight = foresight.step(place, step, whiten)
            near = np.linalg.norm(whiten(corrected)) <= FAR
            params = geometry.parameters(place + corrected, top) if near else None
            return dataclasses.replace(judged, params=top if params is None else params, foresight=foresight)
        foresight = foresight.doubted()
        if foresight.futile:
            return dataclasses.replace(judged, foresight=state.foresight.blind())


def _top(
    state: State,
    damping: float,
    stats: MixtureStatistics,
    here: MixtureStatistics,
    gather: Gather,
    geometry: MixtureGeometry,
) -> MixtureParameters | None:
    """Return where the surrogate is highest, climbed from where all rows say ``stats``, the sample ``here``.

    None: it is highest nowhere, or where a component has collapsed.
    """
    assert state.kept is not None  # or there were no statistics
    model, start, share = state.model, state.kept.params, 1 / (1 + damping)
    here = share * here
    lasting = model.translate(stats, start) + -1.0 * model.translate(here, start)
    climbing = dataclasses.replace(
        state,
        params=start,
        stopping=state.stopping.of_sample(FINEST, COARSEST, PASSES),
        history=(),
        reseeding=None,
        method=state.method.carried(),
        kept=None,
    )
    while climbing.running:
        params = climbing.params
        mine, moved = model.translate(here, params), model.translate(lasting, params)
        height = here.log_likelihood + geometry.expected_log_density(moved, params)
        found = dataclasses.replace(mine + moved, rows=stats.rows, weight=stats.weight, log_likelihood=height)
        if not (np.isfinite(height) and (found.counts > 0).all()):
            return None
        climbing = advance(climbing, [found])
        if any(climbing.standing):
            return None
        if climbing.running:
            here = share * gather(climbing.params)
    logger.debug("the sample foresees the next parameters, after %d passes over it", len(climbing.history))
    return climbing.reached
