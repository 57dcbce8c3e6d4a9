from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from sklearn.datasets import load_sample_images

from dask_em.errors import ConfigError
from dask_em.storage import examples, open_source


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(examples.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    return tmp_path / "dask_em"


def test_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        made.append(1)
        return np.ones((20_000, 2), np.float32)

    monkeypatch.setitem(examples._EXAMPLES, "ones", ("ones-v1.zarr", make))
    for _ in range(2):
        assert examples.example("ones") == cache / "ones-v1.zarr"
    assert made == [1]
    assert [path.name for path in cache.iterdir()] == ["ones-v1.zarr"]
    assert [atom.rows for atom in open_source("example:ones").atoms()] == [16_384, 20_000 - 16_384]


def test_by_whoever_comes_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def beaten() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        zarr.create_array(cache / "ones-v1.zarr", data=np.full((3, 2), 7.0))  # another process was quicker
        return np.ones((3, 2), np.float32)

    monkeypatch.setitem(examples._EXAMPLES, "ones", ("ones-v1.zarr", beaten))
    assert zarr.open_array(examples.example("ones"), mode="r")[0, 0] == 7
    assert [path.name for path in cache.iterdir()] == ["ones-v1.zarr"]


def test_of_the_patches_of_two_photographs() -> None:
    rows = examples.photo_patches()
    assert (rows.shape, rows.dtype) == ((531_720, 63), np.float32)
    photograph = load_sample_images().images[1] @ examples.LUMA / 255
    patch = photograph[5:13, 7:15]
    row = rows[420 * 633 + 5 * 633 + 7]
    assert np.linalg.norm(row) == pytest.approx(np.linalg.norm(patch - patch.mean()), rel=1e-5)
    # The first coordinates are the slowest waves: along a row of pixels first.
    wave = np.cos(np.pi * (np.arange(8) + 0.5) / 8) / np.sqrt(4 * 8)
    assert row[0] == pytest.approx((patch @ wave).sum(), rel=1e-4)


def test_that_is_known() -> None:
    with pytest.raises(ConfigError, match="there is no example 'photo-patch'. Did you mean 'photo-patches'"):
        examples.example("photo-patch")
