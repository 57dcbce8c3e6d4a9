"""The log-likelihood by pass, as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dask_em.driver import Entry

__all__ = ["log_likelihood_picture"]

BEST, OTHER, INK, PALE, FAINT = "#0b5fa5", "#9fb3c8", "#222222", "#555555", "#d9dee4"


def log_likelihood_picture(histories: Mapping[int, Sequence[Entry]], path: Path, sentence: str = "") -> None:
    """Draw the log-likelihood (nats per row) by pass as a PNG: a line for each restart, and ``sentence`` above."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _lines(axes, histories)
    axes.set_xlabel("pass over the data")
    axes.set_ylabel("mean log-likelihood (nats per row)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)
    told = textwrap.wrap(sentence, 105)
    axes.set_title("Log-likelihood by pass", loc="left", fontsize=14, color=INK, pad=10 + 13 * len(told))
    axes.text(0, 1.015, "\n".join(told), transform=axes.transAxes, va="bottom", fontsize=9.5, color=PALE)
    figure.savefig(path, dpi=120, format="png")


def _lines(axes: Axes, histories: Mapping[int, Sequence[Entry]]) -> None:
    started = {restart: entries for restart, entries in histories.items() if entries}
    best = max(started, key=lambda restart: started[restart][-1].log_likelihood, default=None)
    for restart, entries in started.items():
        chosen = restart == best
        axes.plot(
            [entry.number for entry in entries],
            [entry.log_likelihood for entry in entries],
            color=BEST if chosen else OTHER,
            linewidth=2.0 if chosen else 1.2,
            marker="o" if len(entries) <= 60 else "",
            markersize=3.5,
            zorder=3 if chosen else 2,
            label=f"restart {restart + 1}, the best" if chosen else f"restart {restart + 1}",
        )
    if best is not None:
        last = started[best][-1]
        axes.annotate(
            f"{last.log_likelihood:.4f}".replace("-", "\N{MINUS SIGN}"),
            (last.number, last.log_likelihood),
            xytext=(0, -14),
            textcoords="offset points",
            ha="right",
            fontsize=9,
            color=BEST,
        )
    if len(started) > 1:
        axes.legend(frameon=False, loc="lower right", fontsize=9)
