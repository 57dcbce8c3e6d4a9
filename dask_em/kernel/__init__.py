"""One slab of rows and prepared models -> what travels up, in tiles of bounded memory."""

from dask_em.kernel import reference
from dask_em.kernel.holdout import Holdout, apart, summarize_apart
from dask_em.kernel.judging import Judged, judge
from dask_em.kernel.nearest import Metric, Search, far_rows, nearest, tally
from dask_em.kernel.passes import (
    compile_ahead,
    compiled_kernel,
    labels,
    log_density,
    responsibilities,
    score,
    summarize,
)
from dask_em.kernel.survey import LARGEST, Survey, refuse_faults, survey

__all__ = [
    "LARGEST",
    "Holdout",
    "Judged",
    "Metric",
    "Search",
    "Survey",
    "apart",
    "compile_ahead",
    "compiled_kernel",
    "far_rows",
    "judge",
    "labels",
    "log_density",
    "nearest",
    "reference",
    "refuse_faults",
    "responsibilities",
    "score",
    "summarize",
    "summarize_apart",
    "survey",
    "tally",
]
