"""Where the passes begin: pass 0, and a start for each restart of each model."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle

import numpy as np

from dask_em.driver import EM, LBFGS, Outcome, Reseeding, Rivals, State, Stopping
from dask_em.driver.examination import examine, require_rows
from dask_em.driver.initialization import labelled, measured, starts
from dask_em.driver.scalable_kmeans import OVER_ALL_ROWS, Wanted, enriched
from dask_em.errors import InputError
from dask_em.estimators.fitted import Fitted
from dask_em.estimators.foreseeing import with_foresight
from dask_em.estimators.given import arranged, checked_labels, labels_of, substitute
from dask_em.estimators.orders import Order, Start
from dask_em.estimators.warming import pays, warmed
from dask_em.families import Covariance, GaussianParameters
from dask_em.families.gaussian import extents
from dask_em.kernel import Holdout, Metric, Survey, compile_ahead
from dask_em.mixture import TINY, MixtureParameters
from dask_em.reduction import Reducer
from dask_em.rows import Frame, Rows
from dask_em.statistics import Sample

__all__ = ["Begun", "begin", "spanning"]

logger = logging.getLogger("dask_em")


@dataclass(frozen=True)
class Begun:
    """Where the passes begin."""

    states: tuple[State, ...]
    weight: float  # total weight of the rows that are fitted
    holdout: Holdout | None = None
    sample: Sample | None = None  # that foresees the next parameters of the states that have a foresight


def begin(order: Order, reducer: Reducer, stopping: Stopping) -> Begun:
    """Take pass 0, and find where each restart of each model begins: fitted to the sample first, where that pays."""
    schema, common = reducer.layout.source.schema, order.common
    size = order.size(schema.features)
    seed, *_ = [int(start.random.randint(2**31)) for start in order.starts]  # all draw alike
    holdout = None if order.holdout is None else Holdout(order.holdout, seed + 1)
    if common["labels_init"] is not None:
        checked_labels(common["labels_init"], reducer.layout.rows)
    given = all(start.is_given for start in order.starts)
    warm = common["accelerate"] and stopping.max_passes and not given and common["init_params"] != OVER_ALL_ROWS
    if warm and pays(reducer.layout.rows, size.sample_rows):
        compile_ahead(schema.dtype)
    survey = examine(reducer, size.sampled(reducer.layout.rows) if warm else size.sample_rows, seed, holdout)
    for start in order.starts:
        require_rows(survey, start.settings["n_components"])
    larger, survey = survey.sample, dataclasses.replace(survey, sample=survey.sample.first(size.sample_rows))
    sites = [_Site(start, survey) for start in order.starts]
    groups = [
        _states(site, found, stopping) for site, found in zip(sites, _found(sites, reducer, holdout), strict=True)
    ]
    states = [state for group in groups for state in group]
    if warm:
        rivals = Rivals(order.criterion, survey.weight) if order.drop else None
        states = warmed(groups, survey, larger, size, rivals, move=not common["frozen"])
        states = with_foresight(states, survey.rows, larger)
    sample = larger if any(state.foresight for state in states) else None
    return Begun(tuple(states), survey.weight, holdout, sample)


@dataclass(frozen=True)
class _Site:
    """What the starts of a model are made on."""

    start: Start
    survey: Survey

    @cached_property
    def frame(self) -> Frame:
        """What the model's mathematics is done in."""
        return self.start.model.components.frame(self.survey.mean)

    @cached_property
    def rows(self) -> Rows:
        """The sample, in the frame."""
        return self.entered(Rows.of(self.survey.sample.values, self.survey.sample.weight))

    def entered(self, rows: Rows) -> Rows:
        """Return rows of the data as rows of the frame."""
        return Rows.of(self.frame.enter(rows.values), rows.weight)

    @cached_property
    def metrics(self) -> tuple[Metric, Metric]:
        """What starts take distances in, by turns: neither finds the best of all data (benchmarks/optima.py)."""
        whole = measured(self.start.model, self.survey.sample)
        return whole, whole.by_column()

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """One for each start that chance has a part in."""
        by_chance = self.start.kind == self.start.settings["init_params"]
        return tuple(int(self.start.random.randint(2**31)) for _ in range(self.start.restarts * by_chance))


def _found(sites: Sequence[_Site], reducer: Reducer, holdout: Holdout | None) -> list[list[MixtureParameters]]:
    """Return where each start of each model begins; those over all rows share the reads."""
    draws = [list(zip(cycle(site.metrics), map(np.random.RandomState, site.seeds), strict=False)) for site in sites]
    wanted = [
        Wanted(metric, site.start.settings["n_components"], random)
        for site, own in zip(sites, draws, strict=True)
        if site.start.kind == OVER_ALL_ROWS
        for metric, random in own
    ]
    samples = iter(enriched(reducer, sites[0].survey.sample, wanted, holdout) if wanted else ())
    found = []
    for site, own in zip(sites, draws, strict=True):
        drawn = _drawn(site, own, samples) if own else [(site.start.kind, _given(site))]
        _tell(site, [kind for kind, _ in drawn])
        found.append([params for _, params in drawn])
    return found


def _drawn(
    site: _Site, draws: Sequence[tuple[Metric, np.random.RandomState]], samples: Iterator[Rows]
) -> list[tuple[str, MixtureParameters]]:
    """Return where the starts of a model begin that chance has a part in, and of which kind each is."""
    start, k = site.start, site.start.settings["n_components"]
    if start.kind == OVER_ALL_ROWS:
        found = [
            (start.kind, params)  # each on rows of its own
            for draw in draws
            for _, params in starts(start.model, site.entered(next(samples)), k, "kmeans", [draw])
        ]
    else:
        found = starts(start.model, site.rows, k, start.kind, draws)
    given = start.given(len(site.frame.centre))
    if start.frozen:
        found = [(kind, arranged(params, site.frame, start.covariance, given)) for kind, params in found]
    return [(kind, substitute(params, site.frame, given)) for kind, params in found]


def _given(site: _Site) -> MixtureParameters:
    """Return where the one start begins that chance has no part in."""
    start, frame, sample = site.start, site.frame, site.survey.sample
    k, labels = start.settings["n_components"], start.settings["labels_init"]
    if start.previous is not None:
        moved = _moved(start.previous, frame, start.covariance, k, len(frame.centre))
        start.frozen.require_share(moved.weights)
        return moved
    weights, means, covariances = given = start.given(len(frame.centre))
    if weights is not None and means is not None and covariances is not None and start.is_given:
        weights = np.maximum(weights, TINY)
        return MixtureParameters(weights, GaussianParameters(frame.enter(means), covariances))
    known = labels_of(checked_labels(labels, site.survey.rows), sample.index, k)
    return substitute(labelled(start.model, site.rows, k, known), frame, given)


def _tell(site: _Site, kinds: Sequence[str]) -> None:
    name = site.start.name
    for number, (kind, seed) in enumerate(zip(kinds, site.seeds or (None,), strict=True), 1):
        told = "" if seed is None else f", seed {seed}"
        fields = {"event": "start", "model": name, "start": number, "kind": kind, "seed": seed}
        logger.info("%s: start %d of %d: %s%s", name, number, len(kinds), kind, told, extra=fields)


def _states(site: _Site, found: Sequence[MixtureParameters], stopping: Stopping) -> list[State]:
    """Return the states that a model begins with, one a restart."""
    start, settings, sample = site.start, site.start.settings, site.survey.sample
    staying = start.model.components.fixed.means
    reseeding = (
        Reseeding.of(sample.values, sample.weight, settings["n_components"], staying) if settings["reseed"] else None
    )
    outcome = None if stopping.max_passes else Outcome("fixed", "No pass was asked for: the model is its start.")
    method = LBFGS() if settings["accelerate"] else EM()
    return [
        State(
            start.model,
            site.frame,
            spanning(params, site.survey),
            stopping,
            outcome=outcome,
            reseeding=reseeding,
            method=method,
            name=start.name,
            lightest=float(site.survey.weights.low[0]),
        )
        for params in found
    ]


def spanning(params: MixtureParameters, survey: Survey) -> MixtureParameters:
    """Return the start with the data's extent noted, which is exact in pass 0."""
    extent = extents(survey.extent.low, survey.extent.high)
    return dataclasses.replace(params, components=dataclasses.replace(params.components, extent=extent))


def _moved(previous: Fitted, frame: Frame, covariance: Covariance, components: int, features: int) -> MixtureParameters:
    """Return the last fit's parameters in the new frame."""
    old, kind = previous.params.components, previous.model.components.covariance.name
    if kind != covariance.name:
        raise InputError(
            f"warm_start=True, but the last fit has {kind} covariances, not {covariance.name}; "
            "set warm_start=False to start anew"
        )
    if old.means.shape != (components, features):
        raise InputError(
            f"warm_start=True, but the last fit has {old.means.shape[0]} components in {old.means.shape[1]} columns, "
            f"not {components} in {features}; set warm_start=False to start anew"
        )
    means = frame.enter(previous.frame.leave(old.means))
    return MixtureParameters(previous.params.weights, GaussianParameters(means, old.covariances))
