from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from dask_em import GaussianMixture, MultivariateNormal
from dask_em.cli.settings import source_of
from dask_em.config import Data
from dask_em.errors import DataError, InputError
from dask_em.storage import open_source
from tests.families import clouds
from tests.sources import Chunks

Array = np.ndarray[Any, Any]
Ways = list[tuple[Any, Any]]  # data and sample_weight: each must come to the same bits
N, CHUNK = 3000, 1000
WEIGHTS = np.random.default_rng(0).integers(0, 4, N)
ROWS = clouds(np.random.default_rng(1), N)
NAMES = list("abcd")
TABLE = pd.DataFrame(ROWS, columns=NAMES).assign(w=WEIGHTS)


def fitted(data: Any, weights: Any) -> GaussianMixture:
    model = GaussianMixture(3, random_state=0, max_iter=5, tol=0.0)
    for _ in model.iterate(data, sample_weight=weights):
        pass
    return model


def in_memory(folder: Path, weights: Array) -> Ways:
    stored = zarr.create_array(folder / "w.zarr", data=weights, chunks=700)
    beside: list[Any] = [weights, weights.tolist(), pd.Series(weights), stored, da.from_array(weights, chunks=700)]
    beside += [weights.astype("f4"), open_source(weights.astype("f2")), weights.astype(object)]
    return [(ROWS, each) for each in beside] + [(ROWS.tolist(), weights)]


def frame(folder: Path, weights: Array) -> Ways:
    table = TABLE.assign(w=weights)
    nullable = table.assign(w=table["w"].astype("Float64"))
    return [(table, "w"), (nullable, "w"), (table[NAMES], weights), (table[NAMES], table["w"])]


def parquet(folder: Path, weights: Array) -> Ways:
    pq.write_table(pa.Table.from_pandas(TABLE.assign(w=weights)), folder / "x.parquet", row_group_size=CHUNK)
    config = source_of(Data(source=str(folder / "x.parquet"), weights="w"))
    alone = open_source(folder / "x.parquet", columns=NAMES)
    return [(folder / "x.parquet", "w"), (config, None), (alone, weights), (alone, open_source(weights))]


def zarr_group(folder: Path, weights: Array) -> Ways:
    group = zarr.open_group(folder / "g.zarr", mode="w")
    group.create_array("x", data=ROWS, chunks=(CHUNK, 4))
    group.create_array("of/rows", data=weights, chunks=(700,), config={"write_empty_chunks": True})
    config = source_of(Data(source=str(folder / "g.zarr"), array="x", weights="of/rows"))
    return [(group["x"], each) for each in ("of/rows", group["of/rows"], weights)] + [(config, None)]


def dask_array(folder: Path, weights: Array) -> Ways:
    x = da.from_array(ROWS, chunks=(CHUNK, 2))
    series = dd.from_pandas(pd.Series(weights), npartitions=3)
    beside = [da.from_array(weights, chunks=chunk) for chunk in (CHUNK, 700, -1)]
    return [(x, each) for each in (weights, weights.tolist(), *beside)] + [(x, series)]


def dask_array_of_unknown_length(folder: Path, weights: Array) -> Ways:
    x, beside = da.from_array(ROWS, chunks=(CHUNK, 4)), da.from_array(weights, chunks=CHUNK)
    here = da.from_array(np.ones(N, bool), chunks=CHUNK)
    return [(x[here], beside[here]), (x[here], beside), (x, beside[here])]


def dask_dataframe(folder: Path, weights: Array) -> Ways:
    whole = dd.from_pandas(TABLE.assign(w=weights), npartitions=3)
    array = da.from_array(weights, chunks=CHUNK)
    return [
        (whole, "w"),
        (whole[NAMES], whole["w"]),
        (whole[NAMES], whole["w"].astype("Float64")),
        (whole[NAMES], array),
    ]


def own_source(folder: Path, weights: Array) -> Ways:
    sizes = (CHUNK,) * 3
    return [(Chunks(ROWS, sizes, weights=weights), None), (Chunks(ROWS, sizes), weights)]


WAYS: dict[str, Callable[[Path, Array], Ways]] = {
    make.__name__: make
    for make in (
        *(in_memory, frame, parquet, zarr_group),
        *(dask_array, dask_array_of_unknown_length, dask_dataframe, own_source),
    )
}


@pytest.fixture(params=WAYS)
def ways(request: Any) -> Callable[[Path, Array], Ways]:
    return WAYS[request.param]


def test_each_gives_the_same_model(ways: Callable[[Path, Array], Ways], tmp_path: Path) -> None:
    expected, repeated = fitted(ROWS, WEIGHTS), np.repeat(ROWS, WEIGHTS, axis=0)
    models = [fitted(*way) for way in ways(tmp_path, WEIGHTS)]
    for model in models:
        np.testing.assert_array_equal(model.means_, models[0].means_)
        np.testing.assert_array_equal(model.covariances_, models[0].covariances_)
        assert model.lower_bounds_ == models[0].lower_bounds_
    np.testing.assert_allclose(models[0].means_, expected.means_, rtol=1e-9)
    (tmp_path / "again").mkdir()
    for data, weights in ways(tmp_path / "again", WEIGHTS):
        assert models[0].score(data, sample_weight=weights) == pytest.approx(models[0].score(repeated), rel=1e-12)
        assert models[0].bic(data, sample_weight=weights) == pytest.approx(models[0].bic(repeated), rel=1e-12)
        normal = MultivariateNormal.fit(data, sample_weight=weights)
        np.testing.assert_allclose(normal.mean, repeated.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize(("bad", "told"), [(-1.0, "-1.0"), (np.nan, "nan"), (np.inf, "inf")])
def test_each_is_refused_by_place(ways: Callable[[Path, Array], Ways], bad: float, told: str, tmp_path: Path) -> None:
    weights, model = WEIGHTS.astype(np.float64), fitted(ROWS, WEIGHTS)
    weights[[2005, 2900]] = bad
    for data, given in ways(tmp_path, weights):
        for ask in (GaussianMixture(2).fit, model.score, model.bic, model.aic):
            with pytest.raises(DataError, match=f"the weight {told} in the weights at row 2005 ") as caught:
                ask(data, sample_weight=given)
            assert "; 2 of 3000 rows are affected: give weights that are finite and not negative" in str(caught.value)


@pytest.mark.parametrize("ask", ["fit", "score", "bic", "aic"])
def test_all_are_not_zero(ways: Callable[[Path, Array], Ways], ask: str, tmp_path: Path) -> None:
    model = fitted(ROWS, WEIGHTS)
    for data, given in ways(tmp_path, np.zeros(N)):
        with pytest.raises((InputError, DataError), match=r"all weights of .* are zero; give at least one row a pos"):
            getattr(model, ask)(data, sample_weight=given)


X, ARRAY = da.from_array(ROWS, chunks=(CHUNK, 4)), da.from_array(WEIGHTS, chunks=CHUNK)
FRAME = dd.from_pandas(TABLE, npartitions=3)


@pytest.mark.parametrize(
    ("data", "weights", "sentence"),
    [
        (ROWS, WEIGHTS[1:], "array has 3000 rows and 2999 weights; give one for each row"),
        (ROWS, WEIGHTS[:, None], "the weights for array have 2 axes; give one number for each row"),
        (ROWS, 2.0, "the weights for array have 0 axes; give one number for each row"),
        (ROWS, "w", "weights does not apply to an array in memory"),
        (ROWS, WEIGHTS * 1j, "the weights for array is of type complex128"),
        (ROWS, ["many"] * N, "the weights for array is of type <U4"),
        (ROWS, np.ma.masked_equal(WEIGHTS, 0), "the weights for array are a masked array, whose mask would be lost"),
        (TABLE, "v", "the frame has no column 'v'"),
        (TABLE[NAMES], WEIGHTS[1:], "frame has 3000 rows and 2999 weights"),
        (X, ARRAY[1:], r"weights of shape \(2999,\) do not fit 3000 rows"),
        (X, WEIGHTS[1:], r"weights of shape \(2999,\) do not fit 3000 rows"),
        (X, X, r"weights of shape \(3000, 4\) do not fit 3000 rows"),
        (X, 2.0, "the weights for the dask array have 0 axes"),
        (X, ARRAY * 1j, "the weights for the dask array is of type complex128"),
        (X, "w", "a dask array has no named columns, so no weights 'w'"),
        (X[ARRAY > 0], ARRAY.rechunk(500), "weights have 6 chunks and the dask array 3 of unknown length"),
        (X[ARRAY > 0], WEIGHTS, "weights of a dask array of unknown length are a dask array with its chunks"),
        (X[ARRAY > 0], ARRAY, r"it has [0-9]+ rows and weights of shape \(1000,\); give each row one weight"),
        (FRAME, "v", "the dask dataframe has no column 'v'"),
        (FRAME[NAMES], WEIGHTS, "weights of a dask dataframe are the name of a column, or a dask series or array with"),
        (FRAME[NAMES], ARRAY.rechunk(500), "weights of a dask dataframe are the name of a column, or a dask series"),
        (FRAME[NAMES], ARRAY.astype("U1"), "column 'weights' is of type <U1, which is not numeric"),
        (FRAME[NAMES], FRAME["w"][FRAME["w"] > 0], "it has 1000 rows and weights of shape"),
        (Chunks(ROWS, (N,), weights=WEIGHTS * 2.0), WEIGHTS, "the rows of chunks carry weights of their own"),
        (Chunks(ROWS, (N,)), "w", "weights does not apply to a source, which is ready"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_does_not_fit_is_refused(data: Any, weights: Any, sentence: str) -> None:
    with pytest.raises((InputError, DataError), match=sentence):
        GaussianMixture(2).fit(data, sample_weight=weights)
