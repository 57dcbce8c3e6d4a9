"""New rows for a fitted model: their sums are added to those of the rows before, and one M-step is taken of all.

This is a step of incremental EM (Neal and Hinton 1998, "A view of the EM algorithm that justifies incremental, sparse,
and other variants", in Learning in Graphical Models, 355–368), the new rows being its block: the parameters are always
the M-step of all sums, and each row's responsibilities are those of the parameters that it was last read at. The step
never lowers F = Q + the entropy of the responsibilities, which no parameters' objective over all rows is below.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from dask_em.driver import fates
from dask_em.driver.examination import require_room, require_sound
from dask_em.driver.outcome import Outcome
from dask_em.driver.state import Entry
from dask_em.kernel import Judged, judge
from dask_em.mixture import Mixture, MixtureParameters, MixtureStatistics, PreparedMixture
from dask_em.reduction import Reducer

__all__ = ["Update", "judged", "update"]


@dataclass(frozen=True)
class Update:
    """What a model has come to with new rows."""

    params: MixtureParameters
    statistics: MixtureStatistics  # of all rows: what the parameters are the M-step of
    entry: Entry
    outcome: Outcome


def judged(reducer: Reducer, prepared: PreparedMixture) -> Judged:
    """Read new rows once, and refuse those that cannot be used; see :func:`~.examination.examine` for the errors."""
    result = reducer.total(partial(judge, prepared, reducer.layout.tile_rows))
    require_sound(result.fault, reducer.layout)
    require_room(result, reducer.layout)
    return result


def update(
    model: Mixture[Any],
    params: MixtureParameters,
    before: MixtureStatistics,
    new: MixtureStatistics,
    number: int,
    lightest: float = 1.0,
) -> Update:
    """Return the model with new rows.

    Parameters
    ----------
    params
        Those of the model, which the new rows were judged by.
    before, new
        The sums that the model was the M-step of, and those of the new rows.
    number
        Of the pass over the new rows.
    lightest
        The smallest weight of a new row that has any.
    """
    total = model.translate(before, params) + model.translate(new, params)
    step = model.maximize(total, params)
    standing, q = fates.standing(model, step, total, lightest), model.q(total, step)
    entry = Entry(
        number=number,
        rows=new.rows,
        log_likelihood=model.log_likelihood(new, params),
        objective=model.objective(new, params),
        q=q,
        gain=q - model.q(total, params),
        change=model.change(step, params),
        smallest=float(total.counts.min()),
        fate=fates.news(fates.standing(model, params, before, lightest), standing),
    )
    outcome = Outcome(
        "updated",
        f"Updated with {new.rows:,} rows, whose sums were added to those of the {before.rows:,} before; the "
        "log-likelihood is that of the new rows before the update. For the optimum fit all rows, with warm_start=True.",
    )
    return Update(step, total, entry, fates.judged(outcome, standing, narrow=model.components.narrow(step.components)))
