"""One slab of rows and prepared models -> what travels up, in tiles of bounded memory."""

from dask_em.kernel.passes import Score, labels, log_density, responsibilities, score, summarize
from dask_em.kernel.survey import Survey, refuse_faults, survey

__all__ = [
    "Score",
    "Survey",
    "labels",
    "log_density",
    "refuse_faults",
    "responsibilities",
    "score",
    "summarize",
    "survey",
]
