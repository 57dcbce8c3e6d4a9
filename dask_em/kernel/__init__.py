"""One slab of rows and prepared models -> what travels up, in tiles of bounded memory."""

from dask_em.kernel import reference
from dask_em.kernel.holdout import Holdout, apart, summarize_apart
from dask_em.kernel.judging import Judged, judge
from dask_em.kernel.passes import compiled_kernel, labels, log_density, responsibilities, score, summarize
from dask_em.kernel.survey import LARGEST, Survey, refuse_faults, survey

__all__ = [
    "LARGEST",
    "Holdout",
    "Judged",
    "Survey",
    "apart",
    "compiled_kernel",
    "judge",
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
