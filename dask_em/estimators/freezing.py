"""What a user may freeze, and whether there is something to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em.errors import InputError, did_you_mean
from dask_em.families import Covariance, Fixed
from dask_em.family import EMPTY
from dask_em.mixture import Free, PartlyFixed, Weights

__all__ = ["Frozen", "checked_frozen"]

Array = np.ndarray[Any, Any]
GIVEN_BY = {"weights": "weights_init", "means": "means_init", "covariances": "precisions_init"}


@dataclass(frozen=True)
class Frozen:
    """The numbers of the components that keep their weights, means and covariances."""

    weights: tuple[int, ...] = ()
    means: tuple[int, ...] = ()
    covariances: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.weights or self.means or self.covariances)

    @property
    def fixed(self) -> Fixed:
        """What the family keeps."""
        return Fixed(self.means, self.covariances)

    @property
    def weighting(self) -> Weights:
        """How the weights are found."""
        return PartlyFixed(self.weights) if self.weights else Free()

    def require_given(self, given: tuple[Array | None, ...]) -> None:
        """Refuse to freeze what nobody gave: weights (k,), means (k, d), covariances; NaN or None: not given.

        Raises
        ------
        InputError
            A component has nothing to keep.
        """
        for name, part in zip(GIVEN_BY, given, strict=True):
            missing = _missing(part, getattr(self, name))
            if missing:
                raise InputError(
                    f"frozen={{{name!r}: {missing}}} has nothing to keep; give it in {GIVEN_BY[name]} (with NaN for "
                    "the components to be found), or keep what the last fit found (warm_start=True)"
                )

    def require_share(self, weights: Array) -> None:
        """Refuse frozen weights (k,) that are zero, or leave nothing for the others.

        Raises
        ------
        InputError
            They do.
        """
        kept = weights[list(self.weights)]
        if (kept <= 0).any():
            empty = self.weights[int(np.argmax(kept <= 0))]
            raise InputError(
                f"the frozen weight of component {empty} is 0, so that no row is its own; give a positive one"
            )
        if len(kept) < len(weights) and 1 - kept.sum() <= EMPTY:
            raise InputError(
                f"the frozen weights sum to {kept.sum():.5f}, which leaves nothing for the other components; "
                "give weights that sum to less than 1, or freeze all of them"
            )


def checked_frozen(told: Mapping[str, Any] | None, components: int, covariance: Covariance) -> Frozen:
    """Return what is frozen.

    Parameters
    ----------
    told
        Component numbers, or True for all of them, under "weights", "means" and "covariances"; None: nothing.

    Raises
    ------
    InputError
        A name or a number is unknown, or some but not all of a shared covariance are frozen.
    """
    told = told or {}
    for name in told:
        if name not in GIVEN_BY:
            raise InputError(
                f"frozen has {name!r}, which is no part of a component.{did_you_mean(str(name), GIVEN_BY)}"
            )
    frozen = Frozen(**{name: _numbers(name, told[name], components) for name in told})
    if covariance.is_shared and 0 < len(frozen.covariances) < components:
        raise InputError(
            f"frozen={{'covariances': {list(frozen.covariances)}}}, but with {covariance.name} covariances all "
            "components share one; freeze it for all of them (True), or take another covariance_type"
        )
    return frozen


def _numbers(name: str, told: Any, components: int) -> tuple[int, ...]:
    if isinstance(told, bool | np.bool_):
        return tuple(range(components)) if told else ()
    numbers = told if isinstance(told, list | tuple | range | np.ndarray) else (told,)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 0 <= number < components:
            raise InputError(
                f"frozen={{{name!r}: ...}} names component {number!r}; "
                f"give numbers from 0 to {components - 1}, or True for all"
            )
    return tuple(sorted({int(number) for number in numbers}))


def _missing(part: Array | None, chosen: tuple[int, ...]) -> list[int]:
    """Return which of the chosen components are not given."""
    if part is None:
        return list(chosen)
    gaps = np.isnan(part)  # a shared covariance, which is of no component, has none
    return [i for i in chosen if gaps[i].any()] if gaps.any() else []
