"""Any model file back to the estimator that wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dask_em.errors import DataError
from dask_em.estimators.gaussian_mixture import GaussianMixture
from dask_em.estimators.given import model_path
from dask_em.storage import load_record
from dask_em.storage.secrets import without_credentials

__all__ = ["load"]

ESTIMATORS = {"GaussianMixture": GaussianMixture}


def load(path: str | Path, storage_options: Mapping[str, Any] | None = None) -> Any:
    """Return the fitted estimator that ``save`` wrote to a path or URL.

    Raises
    ------
    DataError
        There is no such file, it is no model of ours, or a newer dask_em wrote it.
    InputError
        The path is no path.
    """
    header, fitted = load_record(model_path(path), storage_options)
    name = header.get("estimator")
    if name not in ESTIMATORS:
        raise DataError(
            f"{without_credentials(str(path))} holds a {name!r}, which is no estimator of this version of dask_em"
        )
    return ESTIMATORS[name].restore(header["parameters"], fitted)
