"""One slab of rows and prepared models -> what travels up, in tiles of bounded memory."""

from dask_em.kernel import reference
from dask_em.kernel.holdout import Holdout, apart, summarize_apart
from dask_em.kernel.passes import compiled_kernel, labels, log_density, responsibilities, score, summarize
from dask_em.kernel.survey import Survey, refuse_faults, survey

__all__ = [
    "Holdout",
    "Survey",
    "apart",
    "compiled_kernel",
    "labels",
    "log_density",
    "reference",
    "refuse_faults",
    "responsibilities",
    "score",
    "summarize",
    "summarize_apart",
    "survey",
]
