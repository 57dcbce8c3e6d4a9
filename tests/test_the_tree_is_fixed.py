from __future__ import annotations

import pytest

from dask_em.reduction import ARITY, add_up, merge, tree


class Term(str):
    """A sum that remembers its order."""

    __slots__ = ()

    def __add__(self, other: str) -> Term:
        return Term(f"({self!s} {other!s})")


@pytest.mark.parametrize("leaves", [1, 2, 7, 8, 9, 63, 64, 65, 511, 512, 513, 4097])
def test_adding_as_values_arrive_is_adding_level_by_level(leaves: int) -> None:
    values = [Term(i) for i in range(leaves)]
    nodes = values
    for level in tree(leaves):
        nodes = [add_up([nodes[i] for i in node]) for node in level]
    assert len(nodes) == 1
    assert merge(iter(values)) == nodes[0]


def test_no_node_has_more_children_than_its_arity() -> None:
    assert all(len(node) <= ARITY for level in tree(1000) for node in level)
