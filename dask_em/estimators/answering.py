"""What a fitted mixture answers: the methods that every estimator of mixtures has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from dask_em.estimators import answers
from dask_em.estimators.fitted import Fitted
from dask_em.statistics import Manifest

__all__ = ["Answering"]

Array = np.ndarray[Any, Any]


class Answering:
    """An estimator whose fit leaves a mixture in ``_fitted``, and what that mixture says of rows."""

    _fitted: Fitted
    _random_state: Any  # what draws rows

    def predict(self, X: Any) -> Any:
        """Return the most probable component of each row, (n,); lazy for data that is not in memory."""
        return answers.answer(self._checked(), X, "labels")

    def predict_proba(self, X: Any) -> Any:
        """Return the posterior probability of each component, (n, k); lazy for data that is not in memory."""
        return answers.answer(self._checked(), X, "responsibilities")

    def score_samples(self, X: Any) -> Any:
        """Return the log-density of each row in nats, (n,); lazy for data that is not in memory."""
        return answers.answer(self._checked(), X, "log_density")

    def predict_to(
        self,
        X: Any,
        destination: str,
        what: str = "labels",
        client: Any = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Stream ``labels``, ``responsibilities`` or ``log_density`` to Zarr or Parquet, block by block.

        ``destination`` is a path or URL; ``storage_options`` are for the file system of a URL.
        """
        return answers.write_answer(self._checked(), X, destination, what, client, storage_options)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the mean log-likelihood in nats per row."""
        log_likelihood, weight = answers.total(self._checked(), X, sample_weight)
        return log_likelihood / weight

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """Return −2 L + ν log n (Schwarz 1978); n is the total weight, which must count rows. The lower the better."""
        log_likelihood, weight = answers.total(self._checked(), X, sample_weight)
        return float(-2 * log_likelihood + self._n_parameters() * np.log(weight))

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Return −2 L + 2 ν (Akaike 1974). The lower the better."""
        return -2 * answers.total(self._checked(), X, sample_weight)[0] + 2 * self._n_parameters()

    def sample(self, n_samples: Any = 1) -> tuple[Array, Array]:
        """Draw rows: (n, d) and the component of each, (n,), in order of component."""
        return answers.draw(self._checked(), n_samples, check_random_state(self._random_state))

    def _checked(self) -> Fitted:
        check_is_fitted(self, "_fitted")
        return self._fitted

    def _n_parameters(self) -> int:
        return self._fitted.model.degrees_of_freedom(self._fitted.params)
