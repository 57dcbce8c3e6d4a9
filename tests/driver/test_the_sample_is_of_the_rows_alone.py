import numpy as np
import pytest
from scipy import stats

from dask_em.driver.examination import examine
from dask_em.errors import DataError, InputError
from dask_em.plan import ModelSize, plan
from dask_em.reduction import Serial
from tests.sources import Chunks

N = 50_000
ROWS = np.stack([np.arange(N), np.arange(N) % 7], axis=1).astype(np.float64)


def reducer(sizes: tuple[int, ...], rows: np.ndarray = ROWS, weights: np.ndarray | None = None) -> Serial:
    chunks = Chunks(rows, sizes, weights=weights)
    return Serial(plan(chunks, chunks.atoms(), ModelSize(2, 6)).layout)


def test_it_does_not_depend_on_the_chunks() -> None:
    one = examine(reducer((N,)), 1000, seed=3).sample
    other = examine(reducer((1, 17_000, 2, 32_997)), 1000, seed=3).sample
    np.testing.assert_array_equal(one.index, other.index)
    np.testing.assert_array_equal(one.values, other.values)
    assert len(one.index) == 1000


def test_it_depends_on_the_seed() -> None:
    one, other = (set(examine(reducer((N,)), 1000, seed=s).sample.index.tolist()) for s in (3, 4))
    assert len(one & other) < 60  # 20 are expected to be in both by chance


def test_it_is_uniform_over_the_rows() -> None:
    index = np.concatenate([examine(reducer((N,)), 1000, seed=s).sample.index for s in range(20)])
    counts = np.histogram(index, bins=50, range=(0, N))[0]
    assert stats.chisquare(counts).pvalue > 1e-4
    gaps = np.diff(np.sort(examine(reducer((N,)), 1000, seed=0).sample.index))
    assert stats.kstest(gaps, stats.geom(1000 / N).cdf).pvalue > 1e-4


def test_few_rows_are_all_in_it() -> None:
    survey = examine(reducer((500,), ROWS[:500]), 1000, seed=0)
    assert sorted(survey.sample.index.tolist()) == list(range(500))


def test_rows_of_weight_zero_are_not_in_it() -> None:
    weights = (np.arange(N) % 2).astype(np.float64)
    survey = examine(reducer((N,), weights=weights), 1000, seed=0)
    assert (survey.sample.index % 2 == 1).all()
    assert survey.weight == N / 2
    assert np.isclose(survey.mean[0], ROWS[1::2, 0].mean())


@pytest.mark.parametrize(("of", "size"), [(2, 500), (40, 1000), (4000, 13)])
def test_rows_of_weight_zero_do_not_empty_it(of: int, size: int) -> None:
    weights = (np.arange(N) % of == 1).astype(np.float64)
    survey = examine(reducer((20_000, 30_000), weights=weights), 1000, seed=0)
    assert len(survey.sample.values) >= size
    assert survey.present == weights.sum()
    assert (weights[survey.sample.index] == 1).all()


def test_the_moments_are_right_far_from_zero() -> None:
    rows = np.random.default_rng(0).standard_normal((N, 2)) + 1e9
    survey = examine(reducer((N,), rows), 10, seed=0)
    np.testing.assert_allclose(survey.mean - 1e9, (rows - 1e9).mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(survey.extremes.low, rows.min(axis=0))
    np.testing.assert_array_equal(survey.extremes.high, rows.max(axis=0))


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_the_first_unusable_value_is_named(value: float, kind: str) -> None:
    rows = ROWS.copy()
    rows[30_123, 1] = rows[40_000, 0] = value
    with pytest.raises(
        DataError, match=rf"{kind} in column 1 at row 30123 \(block 4, row 10123 of chunk 1\); 2 of 50000 rows"
    ):
        examine(reducer((20_000, 30_000), rows), 1000, seed=0)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_an_unusable_weight_is_named(weight: float) -> None:
    weights = np.ones(N)
    weights[25_000] = weight
    with pytest.raises(DataError, match=r"the weight .* in the weights at row 25000 .*finite and not negative"):
        examine(reducer((20_000, 30_000), weights=weights), 1000, seed=0)


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(InputError, match="all weights of chunks are zero"):
        examine(reducer((N,), weights=np.zeros(N)), 1000, seed=0)
