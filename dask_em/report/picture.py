"""The log-likelihood by pass, as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dask_em.driver import Entry
from dask_em.report.history import Member

__all__ = ["headed", "log_likelihood_picture"]

BEST, OTHER, INK, PALE, FAINT = "#0b5fa5", "#9fb3c8", "#222222", "#555555", "#d9dee4"
LISTED = 12  # lines that a legend names
OTHERS = (OTHER, "#c9a27e", "#8fb89a", "#b7a3c9", "#c98f93", "#b5b38a", "#8fb6bd", "#a8a8a8")  # one a model


def log_likelihood_picture(
    histories: Mapping[Member, Sequence[Entry]], path: Path, sentence: str = "", best: Member | None = None
) -> None:
    """Draw the objective (nats per row) by pass, and what each pass added, as a PNG.

    It is the log-likelihood, or that with a regularization's exact form; passes whose step was not kept are left out.
    A line for each model and restart, the ``best`` in front (the highest, where none is named), and ``sentence`` above.
    The second panel is logarithmic: the first passes gain so much
    that the later ones could not be told apart.
    """
    exact = all(entry.objective == entry.log_likelihood for entries in histories.values() for entry in entries)
    histories = {member: [entry for entry in entries if entry.kept] for member, entries in histories.items()}
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    best = best or _best(histories)
    _lines(upper, histories, best)
    upper.set_ylabel(f"mean log-likelihood{'' if exact else ', regularised'}\n(nats per row)")
    upper.ticklabel_format(axis="y", useOffset=False)
    _rises(lower, histories, best)
    lower.set_ylabel("rise in a pass\n(nats per row)")
    lower.set_xlabel("pass over the data")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (upper, lower):
        axes.grid(color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.02)
    headed(upper, "Log-likelihood by pass", sentence)
    figure.savefig(path, dpi=120, format="png")


def headed(axes: Axes, title: str, sentence: str) -> None:
    """Write a picture's title, and below it a sentence in as many lines as it takes."""
    told = textwrap.wrap(sentence, 95)
    axes.set_title(title, loc="left", fontsize=14, color=INK, pad=10 + 13 * len(told))
    axes.text(0, 1.015, "\n".join(told), transform=axes.transAxes, va="bottom", fontsize=9.5, color=PALE)


def _best(histories: Mapping[Member, Sequence[Entry]]) -> Member | None:
    started = [member for member, entries in histories.items() if entries]
    return max(started, key=lambda member: histories[member][-1].objective, default=None)


def _rises(axes: Axes, histories: Mapping[Member, Sequence[Entry]], best: Member | None) -> None:
    drawn = False
    for member, entries in histories.items():
        rises = [
            (later.number, later.objective - entry.objective)
            for entry, later in pairwise(entries)
            if later.objective > entry.objective
        ]
        drawn = drawn or bool(rises)
        chosen = member == best
        axes.plot(*zip(*rises, strict=True) if rises else ([], []), color=BEST if chosen else OTHER, zorder=2 + chosen)
    if drawn:
        axes.set_yscale("log")


def _lines(axes: Axes, histories: Mapping[Member, Sequence[Entry]], best: Member | None) -> None:
    started = {member: entries for member, entries in histories.items() if entries}
    labels, models = Member.labels(started), list(dict.fromkeys(member.model for member in started))
    for member, entries in started.items():
        chosen = member == best
        axes.plot(
            [entry.number for entry in entries],
            [entry.objective for entry in entries],
            color=BEST if chosen else OTHERS[models.index(member.model) % len(OTHERS)],
            linewidth=2.0 if chosen else 1.2,
            marker="o" if len(entries) <= 60 else "",
            markersize=3.5,
            zorder=3 if chosen else 2,
            label=f"{labels[member]}, the best" if chosen else labels[member],
        )
    if best in started:
        last = started[best][-1]
        axes.annotate(
            f"{last.objective:.4f}".replace("-", "\N{MINUS SIGN}"),
            (last.number, last.objective),
            xytext=(0, -14),
            textcoords="offset points",
            ha="right",
            fontsize=9,
            color=BEST,
        )
    if 1 < len(started) <= LISTED:
        axes.legend(frameon=False, loc="lower right", fontsize=9)
