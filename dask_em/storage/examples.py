"""Data to try things on, made once and kept in the user's cache folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import zarr
from sklearn.datasets import load_sample_images

from dask_em.errors import ConfigError, did_you_mean

__all__ = ["PIXEL_SCALE", "example", "photo_patches"]

Array = np.ndarray[Any, Any]
PATCH = 8  # pixels along each side
PIXEL_SCALE = 1.0  # white; black is 0
LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue: ITU-R BT.601
CHUNK_ROWS = 16_384


def example(name: str) -> Path:
    """Return the path of an example's Zarr store, made first where it is not there yet.

    ``photo-patches``: every 8 x 8 patch of two photographs in grey, its mean removed, in the 63 coordinates that
    are left; 531,720 rows of float32, 127 MiB once decoded.

    Raises
    ------
    ConfigError
        There is no such example.
    """
    if name not in _EXAMPLES:
        raise ConfigError(f"there is no example {name!r}.{did_you_mean(name, _EXAMPLES)}")
    file, make = _EXAMPLES[name]
    target = Path(platformdirs.user_cache_dir("dask_em")) / file
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(make(), target)
    return target


def photo_patches() -> Array:
    """Return the patches (n, 63), float32, photograph after photograph, row after row."""
    basis = _cosines()  # (64, 63)
    patches = [
        np.lib.stride_tricks.sliding_window_view(photograph @ LUMA * (PIXEL_SCALE / 255), (PATCH, PATCH))
        for photograph in load_sample_images().images
    ]
    return np.concatenate([(view.reshape(-1, PATCH * PATCH) @ basis).astype(np.float32) for view in patches])


def _cosines() -> Array:
    """Return the orthonormal two-dimensional cosines (DCT-II) without the constant one, as columns (64, 63)."""
    place, frequency = np.arange(PATCH), np.arange(PATCH)[:, None]
    wave = np.cos(np.pi * (place + 0.5) * frequency / PATCH) * np.sqrt(2 / PATCH)
    wave[0] /= np.sqrt(2)
    basis: Array = np.einsum("ai,bj->ijab", wave, wave).reshape(PATCH**2, PATCH**2)
    return basis[:, 1:]


def _write(rows: Array, target: Path) -> None:
    """Write a store under a name of its own and rename it; who comes second keeps what is there."""
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        temporary.chmod(0o755)
        array = zarr.create_array(
            temporary, shape=rows.shape, dtype=rows.dtype, chunks=(CHUNK_ROWS, rows.shape[1]), zarr_format=3
        )
        array[:] = rows
        os.rename(temporary, target)  # noqa: PTH104  # refuses a folder that is there, where replace need not
    except OSError:
        if not target.exists():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


_EXAMPLES = {"photo-patches": ("photo-patches-v1.zarr", photo_patches)}
