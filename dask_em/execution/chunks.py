"""One chunk of a Dask collection, cut out of its graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dask.core import get_dependencies
from dask.local import get_sync

from dask_em.errors import InputError
from dask_em.execution.recognition import is_future

__all__ = ["Chunk", "chunks_of"]

Key: TypeAlias = Any  # a string, a number or a tuple of them
Graph: TypeAlias = Mapping[Key, Any]

SHARED = 8  # times that the graph's tasks may be run over in one pass, because chunks need the same ones


@dataclass(frozen=True)
class Chunk:
    """The culled sub-graph that makes a chunk (and its weights): what ``Atom.where`` holds for a collection.

    It runs in the calling thread. What lies on a cluster already is ``held``: the reducer makes it an argument of
    the block's task, and every other reader fetches it.
    """

    graph: Graph
    keys: tuple[Key, ...]  # of the values, and of the weights where there are any
    held: Mapping[Key, Any] = field(default_factory=dict)  # futures; on a worker their values

    def without(self) -> Chunk:
        """Return the chunk with the keys of what lies on the cluster alone."""
        return dataclasses.replace(self, held=dict.fromkeys(self.held))

    def given(self, values: Mapping[Key, Any]) -> Chunk:
        """Return the chunk with the values that it needs of what lies on the cluster."""
        return dataclasses.replace(self, held={key: values[key] for key in self.held})

    def compute(self) -> list[Any]:
        """Return the chunk and its weights, made in this thread."""
        held = {key: value.result() if is_future(value) else value for key, value in self.held.items()}
        if all(key in held for key in self.keys):
            return [held[key] for key in self.keys]
        return list(get_sync({**self.graph, **held}, list(self.keys)))


def chunks_of(
    graph: Graph, keys: Sequence[tuple[Key, ...]], unoptimised: Callable[[], Graph], name: str
) -> Iterator[Chunk]:
    """Cut the sub-graph of each chunk out of an optimised graph.

    Raises
    ------
    InputError
        Nearly every chunk needs nearly all others, so that a pass would read the data many times; or the graph
        refers to a result that is not in it.
    """
    futures: dict[Key, Any] | None = None
    allowed = SHARED * max(len(graph), len(keys))
    for outputs in keys:
        tasks, missing = _cull(graph, outputs)
        allowed -= len(tasks)
        if allowed < 0:
            raise InputError(
                f"the chunks of the {name} need each other (a mean over all rows, a sort or a shuffle), so that every "
                "pass would read the data many times; compute the shared part first (mean = X.mean(axis=0).compute()), "
                "or hold the result in memory with X.persist()"
            )
        if missing and futures is None:
            futures = {value.key: value for values in (graph, unoptimised()) for value in _futures(values)}
        lost = [key for key in missing if key not in (futures or {})]
        if lost:
            raise InputError(f"the {name} refers to {lost[0]}, which is not in its graph; build it anew")
        yield Chunk(tasks, outputs, {key: (futures or {})[key] for key in missing})


def _futures(graph: Graph) -> Iterator[Any]:
    for node in graph.values():
        for value in (node, *getattr(node, "args", ())):
            if is_future(value):
                yield value


def _cull(graph: Graph, keys: Sequence[Key]) -> tuple[dict[Key, Any], list[Key]]:
    """Return the tasks that ``keys`` need, and the keys that they need from outside the graph."""
    tasks: dict[Key, Any] = {}
    missing: dict[Key, None] = {}  # in order
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key in tasks or key in missing:
            continue
        node = graph.get(key)
        if node is None or (is_future(node) and node.key == key):
            missing[key] = None
        elif is_future(node):
            tasks[key] = (_same, node.key)
            missing[node.key] = None
        else:
            tasks[key] = node
            needs = getattr(node, "dependencies", None)
            waiting.extend(get_dependencies(graph, key) if needs is None else needs)
    return tasks, list(missing)


def _same(value: Any) -> Any:
    return value
