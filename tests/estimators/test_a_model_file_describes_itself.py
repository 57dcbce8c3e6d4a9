from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dask_em
from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.errors import DataError
from tests.families import clouds

X = clouds(np.random.default_rng(0), 600)
FIXTURE = Path(__file__).parent / "model-version-1.npz"  # written once by dask_em 0.1.0; never write it anew


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_save_and_load_is_identity(covariance_type: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = GaussianMixture(3, covariance_type=covariance_type, tol=1e-5, random_state=0).fit(frame)
    model.save(tmp_path / "model.npz")
    again = dask_em.load(tmp_path / "model.npz")
    assert again.get_params() == model.get_params()
    assert digest(again._fitted) == digest(model._fitted)
    assert again.outcome_.sentence == model.outcome_.sentence
    assert again.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(again.score_samples(frame), model.score_samples(frame))


def test_it_is_read_by_numpy_alone_and_holds_no_pickle(tmp_path: Path) -> None:
    GaussianMixture(2, random_state=0).fit(X).save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        header = str(file["header"])
        arrays = {name: file[name] for name in file.files if name != "header"}
    for word in ('"format": "dask_em"', '"version": 1', "GaussianMixture", "families.gaussian:Gaussian", "frame"):
        assert word in header
    assert {array.dtype.kind for array in arrays.values()} == {"f", "b"}


def test_the_file_of_version_1_always_loads() -> None:
    model = dask_em.load(FIXTURE)
    assert isinstance(model, GaussianMixture)
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert model.covariance_type == "full"
    np.testing.assert_allclose(model.weights_.sum(), 1.0)
    assert np.isclose(model.score(pd.DataFrame(X, columns=["a", "b", "c", "d"])), model.lower_bound_, atol=1e-4)


def test_loading_needs_no_import_but_the_package(tmp_path: Path) -> None:
    code = f"import dask_em; print(dask_em.load({str(FIXTURE)!r}).n_features_in_)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "4"


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        dask_em.load(tmp_path / "absent.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="other.npz"):
        dask_em.load(tmp_path / "other.npz")
    (tmp_path / "cut.npz").write_bytes(FIXTURE.read_bytes()[:2000])
    with pytest.raises(DataError, match="cut.npz"):
        dask_em.load(tmp_path / "cut.npz")


def test_a_type_that_is_not_imported_is_never_built(tmp_path: Path) -> None:
    with zipfile.ZipFile(FIXTURE) as old, zipfile.ZipFile(tmp_path / "evil.npz", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "header.npy":
                header = np.load(FIXTURE)["header"].item().replace("dask_em.mixture:Free", "os:system")
                np.save(tmp_path / "header.npy", np.array(header))
                content = (tmp_path / "header.npy").read_bytes()
            new.writestr(name, content)
    with pytest.raises(DataError, match="os:system, which is not known here; import os first"):
        dask_em.load(tmp_path / "evil.npz")
