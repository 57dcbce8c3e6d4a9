"""A fit one pass at a time, and what a pass will take: the methods that every estimator with a fit has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from dask_em.driver import Checkpoints, Iteration
from dask_em.estimators.fitting import Reached, fitting
from dask_em.estimators.orders import Order
from dask_em.estimators.reading import planned, source_of, table
from dask_em.estimators.resuming import kept
from dask_em.plan import Plan

__all__ = ["Iterating"]


class Iterating(ABC):
    """An estimator that says what is to be fitted, and takes what was reached."""

    def iterate(
        self,
        X: Any,
        *,
        sample_weight: Any = None,
        client: Any = None,
        checkpoints: Checkpoints | str | Path | None = None,
        resume: bool = False,
    ) -> Generator[Iteration]:
        """Fit, and yield each start's part of each pass, of each model where there are several.

        The estimator is fitted when the iterator ends; a caller who breaks earlier keeps what was reached.

        Parameters
        ----------
        X, sample_weight
            As in ``fit``.
        client : distributed.Client, optional
            Where to compute; the active one, or local threads, where none is given.
        checkpoints : path, URL or Checkpoints, optional
            A folder that a checkpoint is written to after each pass. With ``resume`` the fit goes on from the newest
            one there, on whatever cluster, to the same bits.
        """
        reached, order, place = None, self._asked(), kept(checkpoints, resume)
        try:
            with closing(fitting(order, X, sample_weight, client, place)) as steps:
                for iteration, newest in steps:
                    reached = newest
                    if iteration is not None:
                        yield iteration
        finally:
            if reached is not None:
                self._take(order, reached)

    def plan(self, X: Any, *, sample_weight: Any = None, client: Any = None) -> Plan:
        """Return what one pass over the rows will read, compute and hold; a source of unknown length is counted."""
        source = source_of(table(X), sample_weight=sample_weight)
        return planned(source, self._asked().size(source.schema.features), client)

    @abstractmethod
    def _asked(self) -> Order:
        """Return what is asked for, checked."""

    @abstractmethod
    def _take(self, order: Order, reached: Reached) -> None:
        """Become what was reached."""
