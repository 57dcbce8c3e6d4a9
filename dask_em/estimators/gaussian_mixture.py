"""scikit-learn's GaussianMixture, for data of any size."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from dask_em.driver.initialization import STARTS
from dask_em.driver.scalable_kmeans import OVER_ALL_ROWS
from dask_em.errors import InputError
from dask_em.estimators.answering import Answering
from dask_em.estimators.fitted import Fitted, from_attributes, portable, restored, to_sklearn
from dask_em.estimators.fitting import Reached
from dask_em.estimators.given import model_path
from dask_em.estimators.iterating import Iterating
from dask_em.estimators.orders import Order, Start
from dask_em.estimators.updating import Updating
from dask_em.families import covariance_named
from dask_em.storage import save_record

__all__ = ["GaussianMixture"]

Array = np.ndarray[Any, Any]
LATER: dict[str, tuple[Any, ...]] = {  # arguments whose other values are not there yet
    "missing": ("error",),
}
NEW = {
    "accelerate": ["boolean"],
    "reseed": ["boolean"],
    "init_params": [StrOptions({*STARTS, OVER_ALL_ROWS})],
    "labels_init": ["array-like", None],
    "frozen": [dict, None],
    "precision": [StrOptions({"float64", "auto"})],
    "max_minutes": [Interval(Real, 0, None, closed="neither"), None],
    "reproducible": [StrOptions({"warn", "strict"})],
}
CONSTRAINTS = SklearnGaussianMixture._parameter_constraints | NEW  # noqa: SLF001  # the same errors


class GaussianMixture(Iterating, Updating, Answering, DensityMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Gaussian mixture fitted by expectation–maximisation, out of core and on a cluster.

    Parameters and attributes have the names and meanings of :class:`sklearn.mixture.GaussianMixture`; ``fit`` takes a
    NumPy array, a pandas frame, a Dask array or dataframe, a ``zarr.Array``, a path or URL (Zarr, Parquet, .npy) or
    any object with the :class:`dask_em.Source` protocol. With an active Dask client the passes run there, else on
    local threads; the bits are the same.

    Parameters
    ----------
    n_components : int, default 1
    covariance_type : {"full", "tied", "diag", "spherical"}, default "full"
    tol : float, default 1e-3
        The fit has converged when what ``stop_on`` names changes by less: nats per row, or relative change.
    reg_covar : float, default 1e-6
        Added to every variance, in squared units of the data.
    max_iter : int, default 100
        Passes over the data at most.
    n_init : int, default 1
        Starts; all of them are fitted in the same passes, and the best is kept. Those that would begin with the
        clusters of an earlier one are drawn again in stretched coordinates ("k-means||" excepted).
    init_params : {"kmeans", "k-means++", "random", "random_from_data", "k-means||"}, default "kmeans"
        How responsibilities start, on a uniform sample of the rows taken in the first pass, whitened. "k-means||" takes
        six more reads, shared by all starts, to add rows of clusters that the sample misses, and begins with all rows.
    weights_init, means_init, precisions_init : array-like, optional
        A start of one's own: (k,), (k, d), and the shape that ``covariance_type`` gives. Beside ``frozen`` parts all
        of a component's may be NaN: to be found.
    random_state : int, RandomState or None
    warm_start : bool, default False
        Start from the last fit.
    verbose, verbose_interval : int, print every so many passes
    stop_on : {"log_likelihood", "parameters"}, default "log_likelihood"
    reseed : bool, default False
        Move an emptied or collapsed component to where the data is worst explained, at most three times.
    precision : {"float64", "auto"}, default "float64"
        "auto" multiplies in float32 where that changes log-densities by 1e-4 nats at most; predictions never do.
    reproducible : {"warn", "strict"}, default "warn"
        What to do where workers' arithmetic differs (versions, kind of CPU), so that the last bits may.
    accelerate : bool, default True
        Take quasi-Newton steps made of EM's own (EM-preconditioned L-BFGS): a fraction of EM's passes, to the same
        fixed points; of 500,000 rows or more, those that a sample foresees (Jordan, Lee and Yang 2019) where it is
        large enough. False takes scikit-learn's steps.
    max_minutes : float, optional
        End after the first pass beyond so many minutes, with the best parameters so far; a checkpoint can be resumed.
    labels_init : array-like (n,), optional
        A start from labels 0 to k − 1 of the rows, -1 where one is not known: those rows have no part in the start. Of
        an array on disk or a Dask array, only what belongs to the sample is read. Not saved with the model.
    frozen : dict, optional
        Components whose "weights", "means" or "covariances" the fit leaves as they are: a list of numbers, or True for
        all. They are those of the start given, or with ``warm_start`` of the last fit; the other weights share what is
        left. Each given component starts in place of the found one that it costs the least log-likelihood to replace.
    missing
        Reserved; only the default value is available yet.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_, precisions_cholesky_ : ndarray
        (k,), (k, d), and three times the shape of the covariance type.
    converged_ : bool
    n_iter_ : int
        Passes of the best start, pass 0 not counted, and one for each ``partial_fit``.
    lower_bound_, lower_bounds_ : float, list of float
        Log-likelihood, nats per row, of the parameters that went into the last pass, into each pass: of the rows that
        the pass read, which are the new ones alone in ``partial_fit``.
    history_ : tuple of Entry
        One entry a pass: log-likelihood per row, gain, Q, largest change, fate of components, seconds, bytes read.
    outcome_ : Outcome
        How the fit ended, in a sentence.
    bic_ : float
        BIC of ``lower_bound_`` on the rows of the fit: known without a further read, unlike :meth:`bic`. NaN after
        ``partial_fit``, where no pass has read all rows.
    n_samples_seen_ : int
        Rows in the sums that the model is the M-step of, which ``partial_fit`` adds to; 0 where it has none.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Dempster, Laird and Rubin (1977), "Maximum likelihood from incomplete data via the EM algorithm", JRSS B 39:1–38.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = CONSTRAINTS

    def __init__(  # noqa: PLR0913  # scikit-learn's arguments and ours
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        stop_on: str = "log_likelihood",
        accelerate: bool = True,
        missing: str = "error",
        precision: str = "float64",
        reproducible: str = "warn",
        reseed: bool = False,
        max_minutes: float | None = None,
        labels_init: Any = None,
        frozen: dict[str, Any] | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.stop_on = stop_on
        self.accelerate = accelerate
        self.missing = missing
        self.precision = precision
        self.reproducible = reproducible
        self.reseed = reseed
        self.max_minutes = max_minutes
        self.labels_init = labels_init
        self.frozen = frozen

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the mixture; see :meth:`iterate` for one pass at a time.

        Parameters
        ----------
        X : array, frame, collection, path, URL or Source
            Rows of d columns.
        sample_weight : array-like (n,), an aligned Dask collection, or the name of a column, optional
            Weight 2 is the row twice, weight 0 the row absent (its values must be numbers all the same); AIC, BIC and
            ICL take the sum for the number of rows. For Zarr, an array (n,) of the rows' group may be named.

        Raises
        ------
        DataError, InputError
            The data or a parameter cannot be used; both are ValueErrors.
        """
        for iteration in self.iterate(X, sample_weight=sample_weight):
            if self.verbose and iteration.entry.number % self.verbose_interval == 0:
                print(iteration)  # noqa: T201  # verbose is asked for
        if not self.converged_ and self.max_iter > 0:
            warnings.warn(self.outcome_.sentence, ConvergenceWarning, stacklevel=2)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Fit, then predict."""
        return self.fit(X, y, sample_weight).predict(X)

    def save(self, path: str | Path, storage_options: Mapping[str, Any] | None = None) -> None:
        """Write the model to one file that describes itself and holds no pickle; read it with ``dask_em.load``.

        ``path`` may be a URL, and ``storage_options`` are for its file system. A ``random_state`` that is a generator
        has no such form and comes back as None.
        """
        header = {"estimator": "GaussianMixture", "parameters": portable(self.get_params())}
        save_record(model_path(path), header, self._checked(), storage_options)

    @classmethod
    def restore(cls, parameters: dict[str, Any], fitted: Fitted) -> Self:
        """Return the fitted mixture that a model file describes."""
        model = cls(**restored(parameters, cls().get_params()))
        model.published(fitted)
        return model

    def to_sklearn(self) -> SklearnGaussianMixture:
        """Return scikit-learn's estimator with the same parameters and attributes."""
        return to_sklearn(self._checked(), self)

    @classmethod
    def from_sklearn(cls, estimator: SklearnGaussianMixture) -> Self:
        """Return a fitted mixture with the parameters and attributes of scikit-learn's."""
        check_is_fitted(estimator)
        model = cls(**estimator.get_params())
        model.published(from_attributes(estimator))
        return model

    def _check_parameters(self) -> None:
        self._validate_params()
        for name, available in LATER.items():
            value = getattr(self, name)
            if isinstance(value, np.ndarray) or value not in available:
                raise InputError(f"{name}={value!r} is not available yet; leave it at {available[0]!r}")

    @property
    def _random_state(self) -> Any:
        return self.random_state

    def _asked(self) -> Order:
        return self.order(self._fitted if self.warm_start and hasattr(self, "_fitted") else None)

    def _take(self, order: Order, reached: Reached) -> None:
        self.published(reached.fitted(reached.best))

    def order(self, previous: Fitted | None = None) -> Order:
        """Return what is asked for, checked."""
        self._check_parameters()
        covariance, random = covariance_named(self.covariance_type), check_random_state(self.random_state)
        settings = self.get_params()
        return Order((Start(covariance, settings, random, previous),), settings)

    def published(self, fitted: Fitted) -> Self:
        """Take on a fitted mixture's parameters and attributes."""
        self._fitted = fitted
        components, covariance = fitted.params.components, fitted.model.components.covariance
        self.weights_ = fitted.params.weights
        self.means_ = fitted.frame.leave(components.means)
        self.covariances_ = components.covariances
        self.precisions_cholesky_ = covariance.factor(components.covariances)
        self.precisions_ = covariance.precision(self.precisions_cholesky_)
        self.history_, self.outcome_ = fitted.history, fitted.outcome
        self.converged_, self.n_iter_ = fitted.outcome.converged, len(fitted.history)
        self.lower_bounds_ = fitted.lower_bounds()
        self.lower_bound_ = self.lower_bounds_[-1] if self.lower_bounds_ else float("-inf")
        self.bic_ = fitted.bic()
        self.n_samples_seen_ = fitted.statistics.rows if fitted.statistics else 0
        self.n_features_in_ = components.means.shape[1]
        if fitted.names is not None:
            self.feature_names_in_ = np.array(fitted.names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self
