"""The loop: it knows no mathematics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from dask_em.driver.state import Iteration, State, advance, propose
from dask_em.errors import InternalError
from dask_em.kernel import Holdout, summarize, summarize_apart
from dask_em.reduction import Reducer

__all__ = ["iterate", "passes"]


def iterate(states: Sequence[State], reducer: Reducer) -> Iterator[Iteration]:
    """Advance all states that are running by one pass over the data at a time, and yield each one's part of it.

    One read serves every model of a pass. The caller may stop at any time: what was yielded stands.
    """
    for parts in passes(states, reducer):
        yield from parts


def passes(
    states: Sequence[State],
    reducer: Reducer,
    holdout: Holdout | None = None,
    remaining: Callable[[Sequence[State]], list[State]] = list,
    foreseen: Callable[[Sequence[State]], list[State]] = list,
) -> Iterator[list[Iteration]]:
    """Yield all parts of each pass at once; see :func:`iterate`.

    Rows that are held out are scored, not summed. ``remaining`` sees all states after a pass and may end some;
    ``foreseen`` sees them before each pass, and may put other parameters into those that are running.
    """
    kernel = summarize if holdout is None else partial(summarize_apart, holdout)
    current, layout = list(states), reducer.layout
    while any(state.running for state in current):
        began = time.perf_counter()
        current = foreseen(current)
        wanted = [propose(state) for state in current]
        prepared = tuple(
            model.prepare(params, state.frame)
            for state, proposals in zip(current, wanted, strict=True)
            for model, params in proposals
        )
        statistics = iter(reducer.total(partial(kernel, prepared, layout.tile_rows)).members)
        seconds, news, seen = None, reducer.news(), []
        for member, proposals in enumerate(wanted):
            if not proposals:
                continue
            gathered = [next(statistics) for _ in proposals]
            if any(stats.rows != layout.rows for stats in gathered):
                raise InternalError(f"a pass saw {gathered[0].rows} of {layout.rows} rows")
            advanced = advance(current[member], gathered)
            seconds = seconds or time.perf_counter() - began
            current[member] = advanced.measured(seconds, layout.nbytes, news)
            seen.append(member)
        current = remaining(current)
        yield [Iteration(member, current[member].history[-1], current[member]) for member in seen]
