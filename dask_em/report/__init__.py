"""What a person reads after a fit: a table of the passes, a picture of them, a summary in plain words."""

from dask_em.report.history import HistoryTable, Member
from dask_em.report.picture import log_likelihood_picture
from dask_em.report.selection import Contender, Selection
from dask_em.report.summary import Summary, data_size, duration

__all__ = [
    "Contender",
    "HistoryTable",
    "Member",
    "Selection",
    "Summary",
    "data_size",
    "duration",
    "log_likelihood_picture",
]
