"""The history of a fit as a table that people can open while it grows."""

from __future__ import annotations

import csv
from pathlib import Path

from dask_em.driver import Entry

__all__ = ["HistoryTable"]

COLUMNS = {  # heading: field of an entry
    "pass": "number",
    "log_likelihood_nats_per_row": "log_likelihood",
    "gain_nats_per_row": "gain",
    "q_nats_per_row": "q",
    "largest_relative_change": "change",
    "smallest_component_rows": "smallest",
    "rows": "rows",
    "seconds": "seconds",
    "bytes_read": "bytes_read",
    "fate": "fate",
}


class HistoryTable:
    """A CSV file with one line a pass and restart; its numbers read back as the same bits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(["restart", *COLUMNS])

    def add(self, restart: int, entry: Entry) -> None:
        """Append a line, at once on disk for whoever looks; restarts are numbered from 1 for people."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            values = (getattr(entry, field) for field in COLUMNS.values())
            csv.writer(file).writerow([restart + 1, *("; ".join(v) if isinstance(v, tuple) else v for v in values)])
