"""What models are compared by: siblings that turn what is known of a fit into a number, the lower the better."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from dask_em._record import record
from dask_em.errors import InputError, did_you_mean

__all__ = ["AIC", "BIC", "CRITERIA", "ICL", "Criterion", "HeldOut", "Known", "criterion_named"]

READABLE = 1e15  # as a number with all its digits


@record
class Known:
    """What is known of a model that is, or was, being fitted."""

    log_likelihood: float  # nats per row, of the rows that it is fitted to
    entropy: float  # of the responsibilities, nats per row
    held_out: float  # log-likelihood of the rows that are held out, nats per row; NaN: none are
    parameters: int  # free ones
    rows: float  # total weight of the rows that it is fitted to

    def hoping(self, nats: float) -> Known:
        """Return what would be known if each row were explained better by so many nats."""
        return dataclasses.replace(
            self,
            log_likelihood=self.log_likelihood + nats,
            entropy=max(self.entropy - nats, 0.0),
            held_out=self.held_out + nats,
        )

    def beside(self, foretold: Known, reached: Known) -> Known:
        """Return what is foretold as far behind what another model reached as behind what was foretold of that one."""
        return dataclasses.replace(
            self,
            log_likelihood=reached.log_likelihood + self.log_likelihood - foretold.log_likelihood,
            held_out=reached.held_out + self.held_out - foretold.held_out,
        )


class Criterion(ABC):
    """A way to compare models."""

    name: ClassVar[str]
    title: ClassVar[str]  # as people write it
    falls: ClassVar[bool] = False  # with each gain of log-likelihood: what was reached is then a bound

    @abstractmethod
    def value(self, known: Known) -> float:
        """Return the number that the best model has the lowest of."""

    def told(self, value: float) -> str:
        """Return a value as people read it."""
        return f"{value:,.1f}" if abs(value) < READABLE else f"{value:.6g}"


@record
class BIC(Criterion):
    """−2 L + ν log n (Schwarz 1978, Annals of Statistics 6:461–464)."""

    name, title, falls = "bic", "BIC", True

    def value(self, known: Known) -> float:
        return -2 * known.rows * known.log_likelihood + known.parameters * math.log(known.rows)


@record
class AIC(Criterion):
    """−2 L + 2 ν (Akaike 1974, IEEE Transactions on Automatic Control 19:716–723)."""

    name, title, falls = "aic", "AIC", True

    def value(self, known: Known) -> float:
        return -2 * known.rows * known.log_likelihood + 2 * known.parameters


@record
class ICL(Criterion):
    """BIC + twice the responsibilities' entropy (Biernacki, Celeux and Govaert 2000, IEEE PAMI 22:719–725).

    Components that overlap are told from clusters: the entropy is that of which component each row comes from.
    """

    name, title = "icl", "ICL"

    def value(self, known: Known) -> float:
        return BIC().value(known) + 2 * known.rows * known.entropy


@record
class HeldOut(Criterion):
    """Minus the log-likelihood of rows that no model is fitted to, nats per row."""

    name, title = "holdout", "held-out log-likelihood"

    def value(self, known: Known) -> float:
        return -known.held_out

    def told(self, value: float) -> str:
        return f"{-value:.6f}"


CRITERIA: dict[str, Criterion] = {criterion.name: criterion for criterion in (BIC(), AIC(), ICL(), HeldOut())}


def criterion_named(name: Any) -> Criterion:
    """Return a criterion by its name.

    Raises
    ------
    InputError
        There is none of this name.
    """
    if not isinstance(name, str) or name not in CRITERIA:
        raise InputError(f"select_by is {name!r}, which compares nothing here.{did_you_mean(str(name), CRITERIA)}")
    return CRITERIA[name]
