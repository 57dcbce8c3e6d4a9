from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest

from dask_em import GaussianMixture, load
from dask_em.errors import InputError

Array = np.ndarray[Any, Any]
N = 6000
RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.integers(3, size=N)
CENTRES = np.array([[6.0, 0.0], [-6.0, 0.0], [0.0, 6.0]])
ROWS = CENTRES[TRUTH] + RANDOM.standard_normal((N, 2))
SOME = np.where(RANDOM.random(N) < 0.05, TRUTH, -1)


def test_in_the_order_of_their_components() -> None:
    for order in ([0, 1, 2], [2, 0, 1]):
        labels = np.where(SOME >= 0, np.array(order)[SOME], -1)
        model = GaussianMixture(3, labels_init=labels, random_state=0).fit(ROWS)
        np.testing.assert_allclose(model.means_[order], CENTRES, atol=0.2)


def test_without_the_rows_that_have_none() -> None:
    model = GaussianMixture(3, labels_init=SOME, max_iter=0).fit(ROWS)
    known = SOME >= 0
    rows, labels = ROWS[known], SOME[known]
    for i in range(3):
        np.testing.assert_allclose(model.means_[i], rows[labels == i].mean(axis=0))
    np.testing.assert_allclose(model.weights_, np.bincount(labels) / len(labels))


def test_which_is_one_start() -> None:
    model = GaussianMixture(3, labels_init=SOME, n_init=5, random_state=0)
    assert {iteration.member for iteration in model.iterate(ROWS)} == {0}


def test_from_anything_that_holds_one_a_row(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", SOME)
    others = [
        SOME.tolist(),
        SOME.astype(np.float32),
        np.load(tmp_path / "labels.npy", mmap_mode="r"),
        da.from_array(SOME, chunks=1000),
        pd.Series(SOME, index=np.arange(N)[::-1]),
    ]

    def means(labels: Any) -> Array:
        return GaussianMixture(3, labels_init=labels, max_iter=0, random_state=0).fit(ROWS).means_

    expected = means(SOME)
    for labels in others:
        np.testing.assert_array_equal(means(labels), expected)


def test_of_which_only_those_of_the_sample_are_looked_at() -> None:
    class Asked:
        shape = (50_000,)
        index = np.empty(0, np.int64)

        def __getitem__(self, index: Array) -> Array:
            self.index = index
            return np.tile(TRUTH, 9)[index]

    labels = Asked()
    model = GaussianMixture(3, labels_init=labels, max_iter=1, tol=0, random_state=0)
    with pytest.warns(match="Stopped after 1 pass"):
        model.fit(np.tile(ROWS, (9, 1))[:50_000])
    assert len(labels.index) == 20_000
    np.testing.assert_array_equal(labels.index, np.unique(labels.index))
    np.testing.assert_allclose(model.means_, CENTRES, atol=0.2)


def test_beside_what_else_is_given() -> None:
    model = GaussianMixture(3, labels_init=SOME, weights_init=[0.5, 0.25, 0.25], max_iter=0).fit(ROWS)
    np.testing.assert_allclose(model.weights_, [0.5, 0.25, 0.25])


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (SOME[1:], r"labels_init should have the shape \(6000,\), a label for each row, but has \(5999,\)"),
        (SOME[:, None], r"labels_init should have the shape \(6000,\).* but has \(6000, 1\)"),
        (np.where(np.arange(N) == 77, 3, SOME), r"whole numbers from 0 to 2, or -1 where .*; row 77 has 3"),
        (np.where(np.arange(N) == 9, -2, SOME), r"; row 9 has -2"),
        (np.where(np.arange(N) == 9, 0.5, SOME), r"; row 9 has 0.5"),
        (np.where(np.arange(N) == 9, np.nan, SOME), r"; row 9 has nan"),
        (["a"] * N, r"its values are of type <U1"),
        (np.where(SOME == 1, -1, SOME), r"component 1 has no row in labels_init among the 6000 rows .*; label more"),
    ],
)
def test_or_a_sentence_says_why_not(labels: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        GaussianMixture(3, labels_init=labels).fit(ROWS)


def test_and_are_not_saved(tmp_path: Path) -> None:
    model = GaussianMixture(3, labels_init=da.from_array(SOME), random_state=0)
    for _ in model.iterate(ROWS, checkpoints=tmp_path / "run"):
        pass
    model.save(tmp_path / "model.npz")
    restored = load(tmp_path / "model.npz")
    assert restored.labels_init is None
    np.testing.assert_array_equal(restored.means_, model.means_)
    list(model.iterate(ROWS, checkpoints=tmp_path / "run", resume=True))
    np.testing.assert_array_equal(restored.means_, model.means_)
