"""The history of a fit as a table that people can open while it grows."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from dask_em.driver import Entry

__all__ = ["HistoryTable"]

COLUMNS = {  # heading: field of an entry
    "pass": "number",
    "log_likelihood_nats_per_row": "log_likelihood",
    "objective_nats_per_row": "objective",
    "kept": "kept",
    "gain_nats_per_row": "gain",
    "q_nats_per_row": "q",
    "largest_relative_change": "change",
    "smallest_component_rows": "smallest",
    "rows": "rows",
    "seconds": "seconds",
    "bytes_read": "bytes_read",
    "fate": "fate",
    "events": "events",
}


class HistoryTable:
    """A CSV file with one line a pass and restart; its numbers read back as the same bits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: Counter[int] | None = None  # lines of each restart; None: the file is not ours yet

    def update(self, histories: Mapping[int, Sequence[Entry]]) -> None:
        """Append what is new, at once on disk for whoever looks; restarts are numbered from 1 for people.

        The first time the table is written anew: what an earlier fit left there may lack the pass that it died in.
        """
        with self._path.open("w" if self._written is None else "a", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            if self._written is None:
                lines.writerow(["restart", *COLUMNS])
                self._written = Counter()
            done = self._written
            news = [(e.number, restart, e) for restart, all_of in histories.items() for e in all_of[done[restart] :]]
            for _, restart, entry in sorted(news, key=lambda line: line[:2]):
                values = (getattr(entry, field) for field in COLUMNS.values())
                told = ("; ".join(value) if isinstance(value, tuple) else value for value in values)
                lines.writerow([restart + 1, *told])
                done[restart] += 1
