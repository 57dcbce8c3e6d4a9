from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from dask_em import GaussianMixture

DIFFERENCES = {
    "check_dtype_object": "a dict among the numbers is a DataError, as all data that cannot be used; not a TypeError",
    "check_sample_weights_not_an_array": "what only has __array__ may be larger than memory (HDF5): it takes a Source",
}


def differences(estimator: object) -> dict[str, str]:
    return DIFFERENCES


@parametrize_with_checks([GaussianMixture()], expected_failed_checks=differences)
def test_it_passes(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
