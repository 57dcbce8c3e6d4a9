"""A fitted model in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Summary", "data_size", "duration"]

SHOWN = 12  # components that are listed one by one


@dataclass(frozen=True)
class Summary:
    """What there is to say of a fitted model; None where it is not known, as after loading."""

    family: str
    covariance: str
    weights: Sequence[float]  # (k,)
    columns: int
    names: Sequence[str] | None = None
    rows: int | None = None
    log_likelihood: float | None = None  # nats per row, one EM step before the model
    bic: float | None = None
    passes: int | None = None
    seconds: float | None = None  # of the passes
    whole: float | None = None  # seconds of the fit, from the first to the last thing
    outcome: str | None = None

    def text(self) -> str:
        """Return the summary, a sentence a line."""
        kind = f"{self.family}, {self.covariance} covariance"
        lines = [f"A mixture of {_count(len(self.weights), 'component')} ({kind}) of {self._data()}."]
        if self.outcome:
            lines.append(self.outcome)
        if self.log_likelihood is not None:
            bic = "" if self.bic is None else f"; BIC {self.bic:,.1f} (lower is better)"
            lines.append(f"Log-likelihood, one EM step before the model: {self.log_likelihood:.6f} nats per row{bic}.")
        if self.passes is not None:
            taken = "" if self.seconds is None else f" in {duration(self.seconds)}"
            whole = "" if self.whole is None else f", and {duration(self.whole)} in all"
            lines.append(f"It took {_count(self.passes, 'pass', 'passes')} over the data{taken}{whole}.")
        lines.append(self._shares())
        return "\n".join(lines)

    def _data(self) -> str:
        columns = _count(self.columns, "column")
        if self.names is not None:
            listed = ", ".join(list(self.names)[:SHOWN])
            columns += f" ({listed}{', ...' if len(self.names) > SHOWN else ''})"
        return columns if self.rows is None else f"{_count(self.rows, 'row')} of {columns}"

    def _shares(self) -> str:
        shares = sorted(self.weights, reverse=True)
        listed = ", ".join(f"{100 * share:.1f} %" for share in shares[:SHOWN])
        rest = len(shares) - SHOWN
        return f"Shares of the rows: {listed}{f' and {rest} smaller' if rest > 0 else ''}."


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def data_size(nbytes: float) -> str:
    """Return a number of bytes as people say it."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if nbytes < 1024:
            return f"{nbytes:,.0f} {unit}" if unit == "bytes" else f"{nbytes:,.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:,.1f} TiB"


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"
