"""partial_fit takes new rows from wherever they are, once, and refuses with a sentence what it cannot add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture

import dask_em
from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.errors import DataError, InputError
from dask_em.kernel import passes
from tests.families import clouds
from tests.reading import Logged, loads
from tests.sources import Chunks

RANDOM = np.random.default_rng(0)
OLD, NEW = clouds(RANDOM, 3000), clouds(RANDOM, 1500)
VERSION_1 = Path(__file__).parent / "model-version-1.npz"


def mixture(**settings: Any) -> GaussianMixture:
    return GaussianMixture(**{"n_components": 3, "random_state": 0, "tol": 1e-5, "max_iter": 500, **settings})


def test_new_rows_are_read_once_from_wherever_they_are(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "new.zarr", data=NEW, chunks=(500, 4))
    expected = digest(mixture().fit(OLD).partial_fit(NEW)._fitted.params)
    logged = Logged(Chunks(NEW, (500, 500, 500)), tmp_path / "log")
    for data in (logged, tmp_path / "new.zarr", str(tmp_path / "new.zarr"), da.from_array(NEW, chunks=(500, 4))):
        assert digest(mixture().fit(OLD).partial_fit(data)._fitted.params) == expected
    assert set(loads(tmp_path / "log").values()) == {1}


def test_columns_are_found_by_their_names() -> None:
    names = ["a", "b", "c", "d"]
    old, new = pd.DataFrame(OLD, columns=names), pd.DataFrame(NEW, columns=names)
    expected = digest(mixture().fit(old).partial_fit(new)._fitted.params)
    model = mixture().fit(old).partial_fit(new[["d", "b", "a", "c"]])
    assert digest(model._fitted.params) == expected
    assert model.feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="'d'"):
        model.partial_fit(new[["a", "b", "c"]])
    with pytest.raises(InputError, match="X has 3 features, but GaussianMixture is expecting 4 features"):
        model.partial_fit(NEW[:, :3])


def spoiled(value: float) -> Any:
    rows = NEW.copy()
    rows[1203, 2] = value
    return rows


def weights(value: float) -> Any:
    return np.where(np.arange(1500) == 1203, value, 1.0)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "numpy"])
@pytest.mark.parametrize(
    ("rows", "weight", "sentence"),
    [
        (spoiled(np.nan), None, "NaN in column 2 at row 1203 .block 0, row 203 of chunk 2.; 1 of 1500 rows"),
        (spoiled(-np.inf), None, "infinity in column 2 at row 1203"),
        (spoiled(1e200), None, "column 2 of chunks reaches from .* to 1e.200, whose squares overflow: rescale it"),
        (NEW, weights(-1.0), "the weight -1.0 in the weights at row 1203"),
        (NEW, weights(np.nan), "the weight nan in the weights at row 1203"),
        (NEW, np.zeros(1500), "all weights of chunks are zero"),
    ],
)
def test_rows_that_cannot_be_used_are_refused_by_place_and_leave_the_model_as_it_was(
    rows: Any, weight: Any, sentence: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(passes, "compiled_kernel", lambda: None)
    model = mixture().fit(OLD)
    before = digest(model._fitted)
    with pytest.raises(InputError, match=sentence):
        model.partial_fit(Chunks(rows, (400, 600, 500), weights=weight))
    assert digest(model._fitted) == before


def test_a_model_without_sums_says_what_to_do() -> None:
    theirs = GaussianMixture.from_sklearn(SklearnGaussianMixture(3, random_state=0).fit(OLD))
    for model in (theirs, dask_em.load(VERSION_1), mixture(max_iter=0).fit(OLD)):
        assert model.n_samples_seen_ == 0
        with pytest.raises(InputError, match="has no sums of rows for partial_fit to add to.*warm_start=True to go on"):
            model.partial_fit(NEW)
    theirs.set_params(warm_start=True, max_iter=100).fit(OLD)
    assert theirs.partial_fit(NEW).n_samples_seen_ == 4500


@pytest.mark.parametrize("settings", [{"n_components": 2}, {"covariance_type": "diag"}])
def test_another_model_than_the_fitted_one_is_refused(settings: dict[str, Any]) -> None:
    model = mixture().fit(OLD).set_params(**settings)
    with pytest.raises(InputError, match="n_components=3 and covariance_type='full', and now .* partial_fit cannot"):
        model.partial_fit(NEW)


def test_an_update_of_a_model_that_moves_a_component_waits_for_its_next_pass() -> None:
    begun = {"means_init": np.r_[OLD[:2], [[1e6] * 4]], "reseed": True}
    model = mixture(**begun)
    for iteration in model.iterate(OLD):
        if any("was moved" in told for told in iteration.entry.fate):
            break
    with pytest.raises(InputError, match="has no sums of rows"):
        model.partial_fit(NEW)


def test_rows_may_come_from_a_frame_with_a_column_of_weights() -> None:
    frame = pd.DataFrame(NEW, columns=["a", "b", "c", "d"]).assign(weight=np.arange(1500) % 2)
    model = mixture().fit(pd.DataFrame(OLD, columns=["a", "b", "c", "d"])).partial_fit(frame, sample_weight="weight")
    plain = mixture().fit(OLD).partial_fit(NEW[1::2])
    np.testing.assert_allclose(model.means_, plain.means_, atol=1e-12)


def test_values_that_are_no_rows_are_refused_in_scikit_learns_words() -> None:
    with pytest.raises(DataError, match="nothing.zarr"):
        mixture().fit(OLD).partial_fit("nothing.zarr")
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array instead"):
        mixture().fit(OLD).partial_fit(NEW[:, 0])
