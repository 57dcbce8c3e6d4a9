"""The picture of scale.py: seconds of a pass against workers, a line for each number of rows."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from simulation import Model, Pass
from telling import Swept, enough, nbytes

__all__ = ["draw"]

TIMES = {0.1: "0.1 s", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36_000: "10 h"}
TIMES |= {86_400: "1 day", 864_000: "10 days", 8_640_000: "100 days"}
WORKERS = {1: "1", 10: "10", 100: "100", 1000: "1,000", 10_000: "10,000"}
SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
BYTES = 4  # of a value


def draw(swept: Swept, path: Path) -> None:
    """Draw a panel for each model."""
    importlib.import_module("matplotlib").use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, panels = pyplot.subplots(
        1, len(swept), figsize=(6.2 * len(swept), 6.4), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, (model, passes) in zip(panels[0], swept, strict=True):
        _panel(panel, model, passes, pyplot.get_cmap("viridis"))
    panels[0, 0].set_ylabel("a pass over all rows, read anew")
    figure.suptitle(
        "A pass is shorter with more workers until blocks or the store run out (dot: enough; dashed: more do not help)",
        x=0.02,
        ha="left",
    )
    figure.savefig(path, dpi=150)


def _panel(panel: Any, model: Model, passes: dict[int, list[tuple[int, Pass]]], colours: Any) -> None:
    for i, (rows, line) in enumerate(passes.items()):
        colour = colours(0.8 * (1 - i / max(1, len(passes) - 1)))
        few, done = enough(line)
        useful = [(workers, took.seconds) for workers, took in line if workers <= few]
        rest = [(workers, took.seconds) for workers, took in line if workers >= few]
        panel.plot(*zip(*useful, strict=True), color=colour, linewidth=2)
        panel.plot(*zip(*rest, strict=True), color=colour, linewidth=1.2, linestyle=(0, (2, 2)))
        panel.plot(few, done.seconds, "o", color=colour, markersize=6, zorder=3)
        size = nbytes(rows * model.columns * BYTES)
        told = f"10{str(len(str(rows)) - 1).translate(SUPERSCRIPT)} rows, {size}"
        _label(panel, told, line, colour)
    panel.set(xscale="log", yscale="log", xlim=(0.035, 12_000))
    panel.set_xticks(list(WORKERS), list(WORKERS.values()))
    panel.set_yticks(list(TIMES), list(TIMES.values()))
    panel.minorticks_off()
    panel.grid(alpha=0.25, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel("workers of one core")
    panel.set_title(
        f"{model.columns} columns, {model.components} components, full covariances", loc="left", fontsize=11
    )


def _label(panel: Any, told: str, line: list[tuple[int, Pass]], colour: Any) -> None:
    """Write beside the line's beginning, where no other line passes."""
    workers, done = line[0]
    panel.annotate(
        told,
        (workers, done.seconds),
        (-6, 0),
        textcoords="offset points",
        color=colour,
        fontsize=9,
        ha="right",
        va="center",
    )
