"""The history of a fit as a table that people can open while it grows."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dask_em.driver import Entry

__all__ = ["HistoryTable", "Member"]

COLUMNS = {  # heading: field of an entry
    "pass": "number",
    "log_likelihood_nats_per_row": "log_likelihood",
    "objective_nats_per_row": "objective",
    "kept": "kept",
    "gain_nats_per_row": "gain",
    "left_nats_per_row": "left",
    "q_nats_per_row": "q",
    "largest_relative_change": "change",
    "smallest_component_rows": "smallest",
    "rows": "rows",
    "seconds": "seconds",
    "bytes_read": "bytes_read",
    "held_out_nats_per_row": "held_out",
    "fate": "fate",
    "events": "events",
}


@dataclass(frozen=True)
class Member:
    """One of the fits that share the passes: a restart, numbered from 1 for people, of a model."""

    model: str
    restart: int

    @staticmethod
    def labels(members: Collection[Member]) -> dict[Member, str]:
        """Return what tells each apart from the others: its model, its restart, or both."""
        models, restarts = {member.model for member in members}, {member.restart for member in members}

        def label(member: Member) -> str:
            told = [member.model] if len(models) > 1 else []
            return ", ".join([*told, *([f"restart {member.restart}"] if len(restarts) > 1 or not told else [])])

        return {member: label(member) for member in members}


class HistoryTable:
    """A CSV file with one line a pass, model and restart; its numbers read back as the same bits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: Counter[Member] | None = None  # lines of each; None: the file is not ours yet

    def update(self, histories: Mapping[Member, Sequence[Entry]], ends: Mapping[Member, str] | None = None) -> None:
        """Append what is new, at once on disk for whoever looks; a fit's last line says how it ended.

        The first time the table is written anew: what an earlier fit left there may lack the pass that it died in.
        """
        with self._path.open("w" if self._written is None else "a", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            if self._written is None:
                lines.writerow(["model", "restart", *COLUMNS, "outcome"])
                self._written = Counter()
            done = self._written
            news = [(e.number, member, e) for member, all_of in histories.items() for e in all_of[done[member] :]]
            for _, member, entry in sorted(news, key=lambda line: line[0]):
                values = (getattr(entry, field) for field in COLUMNS.values())
                told = ("; ".join(value) if isinstance(value, tuple) else value for value in values)
                outcome = ends.get(member, "") if ends and entry is histories[member][-1] else ""
                lines.writerow([member.model, member.restart, *told, outcome])
                done[member] += 1
