"""Which model was chosen, and from which: a table, a picture, and words."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dask_em.report.picture import FAINT, INK, headed

__all__ = ["Contender", "Selection"]

COLOURS = {"full": "#0b5fa5", "tied": "#c2571a", "diag": "#2e8540", "spherical": "#8a4fa8"}
TITLES = {"aic": "AIC", "bic": "BIC", "icl": "ICL", "holdout": "held-out log-likelihood (nats per row)"}
SHORT = {"holdout": "held-out log-likelihood"}
EVEN = {"holdout": 1e-3}  # differences up to which the picture's scale is linear; beyond it is logarithmic
EVEN_OF_CRITERIA = 10.0


@dataclass(frozen=True)
class Contender:
    """A model, and what is known of it; NaN where nothing is."""

    name: str
    n_components: int
    covariance_type: str
    parameters: int
    log_likelihood: float  # nats per row
    aic: float
    bic: float
    icl: float
    held_out: float  # nats per row
    passes: int
    foretold: bool  # from the sample: it was dropped before it saw all rows
    outcome: str  # a sentence


@dataclass(frozen=True)
class Selection:
    """The models of a grid, in order."""

    contenders: Sequence[Contender]
    best: int
    select_by: str

    def write(self, path: Path) -> None:
        """Write the table as CSV; its numbers read back as the same bits."""
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(["chosen", *(field.name for field in dataclasses.fields(Contender))])
            for i, contender in enumerate(self.contenders):
                lines.writerow(["yes" if i == self.best else "", *dataclasses.astuple(contender)])

    def text(self) -> str:
        """Return the table for people: the best first, a line a model."""
        order = sorted(range(len(self.contenders)), key=lambda i: (i != self.best, self._badness(i)))
        width = max(len(contender.name) for contender in self.contenders)
        lines = [f"Chosen by {TITLES[self.select_by]} of {len(self.contenders)} models:"]
        for i in order:
            each = self.contenders[i]
            mark, told = ("*" if i == self.best else " "), self._told(i)
            how = "foretold from the sample, dropped" if each.foretold else f"{each.passes} passes, {self._end(each)}"
            lines.append(f" {mark} {each.name:<{width}}  {told:>18}  {how}")
        return "\n".join([*lines, *self._doubts()])

    def _doubts(self) -> list[str]:
        """Say where the choice is at the edge of what was tried, and what other criteria would choose."""
        best, others = self.contenders[self.best], defaultdict[str, list[str]](list)
        for name, title in TITLES.items():
            known = [each for each in self.contenders if not math.isnan(_badness(each, name))]
            first = min(known, key=lambda each: _badness(each, name), default=best)
            if first is not best:
                others[first.name].append(SHORT.get(name, title))
        told = [f"By {' and '.join(criteria)} it would be {name}." for name, criteria in others.items()]
        sizes = {each.n_components for each in self.contenders}
        if len(sizes) > 1 and best.n_components == max(sizes):
            told.append("No model with more components was tried: there may be a better one.")
        return told

    def picture(self, path: Path) -> None:
        """Draw how far each model is from the chosen one by its number of components, as a PNG.

        A line for each covariance. Hollow points are foretold from the sample; the chosen model is ringed.
        """
        figure = Figure(figsize=(8, 5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for kind in dict.fromkeys(each.covariance_type for each in self.contenders):
            self._curve(axes, kind)
        best = self.contenders[self.best]
        if self._is_known(self.best):
            axes.plot([best.n_components], [0], "o", color=INK, fillstyle="none", markersize=14, zorder=4)
        axes.set_xticks(sorted({each.n_components for each in self.contenders}))
        axes.set_xlabel("components")
        even = EVEN.get(self.select_by, EVEN_OF_CRITERIA)
        axes.set_yscale("symlog", linthresh=even)
        drawn = [self._behind(i) for i in range(len(self.contenders)) if self._is_known(i)] or [0.0]
        axes.set_ylim(min(drawn) * 2 - 0.4 * even, max(drawn) * 2 + 0.4 * even)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}".replace("-", "\N{MINUS SIGN}"))
        axes.set_ylabel(f"{TITLES[self.select_by]},\nbehind the chosen model's")
        axes.grid(color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, title="covariance")
        hollow = any(each.foretold and self._is_known(i) for i, each in enumerate(self.contenders))
        sentence = f"Chosen: {best.name} (ringed)." + (" Hollow: foretold from the sample, and dropped." * hollow)
        headed(axes, "Which model", sentence)
        figure.savefig(path, dpi=120, format="png")

    def _curve(self, axes: Axes, kind: str) -> None:
        """Draw the models of one kind of covariance."""
        mine = [i for i, each in enumerate(self.contenders) if each.covariance_type == kind and self._is_known(i)]
        mine.sort(key=lambda i: self.contenders[i].n_components)
        x, y = [self.contenders[i].n_components for i in mine], [self._behind(i) for i in mine]
        axes.plot(x, y, color=COLOURS[kind], linewidth=1.5, label=kind, zorder=2)
        for i, at, value in zip(mine, x, y, strict=True):
            inside = "white" if self.contenders[i].foretold else COLOURS[kind]
            axes.plot([at], [value], "o", color=COLOURS[kind], markerfacecolor=inside, markersize=6, zorder=3)

    def _behind(self, i: int) -> float:
        return self._badness(i) - self._badness(self.best)

    def _is_known(self, i: int) -> bool:
        return math.isfinite(self._badness(i))

    def _badness(self, i: int) -> float:
        value = _badness(self.contenders[i], self.select_by)
        return math.inf if math.isnan(value) else value

    def _told(self, i: int) -> str:
        if not self._is_known(i):
            return "not known"
        return f"{-self._badness(i):.6f}" if self.select_by == "holdout" else f"{self._badness(i):,.1f}"

    @staticmethod
    def _end(contender: Contender) -> str:
        return contender.outcome.split(" ", 1)[0].rstrip(".,").lower()


def _badness(contender: Contender, criterion: str) -> float:
    return -contender.held_out if criterion == "holdout" else float(getattr(contender, criterion))
