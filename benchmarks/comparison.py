"""What peers.py tells of its measurements: tables, machine, versions and a picture."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from data import Shape
from implementations import PEERS

__all__ = [
    "TOLERANCE",
    "Cell",
    "Cells",
    "Results",
    "draw",
    "least_flops",
    "machine",
    "table",
    "tables",
    "titled",
    "versions",
]

TOLERANCE = 1e-6  # on weights times K, means in deviations, covariances in squared deviations


@dataclass
class Cell:
    """What is known of one peer at one shape."""

    rounds: list[float] = field(default_factory=list)  # seconds of an iteration, one a round
    difference: float | None = None
    failure: str | None = None
    others: list[float] = field(default_factory=list)  # cores that other processes used meanwhile, one a round

    @property
    def seconds(self) -> float:
        """The median."""
        return float(np.median(self.rounds)) if self.rounds else float("nan")


Cells = dict[str, Cell]  # by peer


def least_flops(shape: Shape, covariance: str) -> float:
    """Return the operations of two products, rows' features by components: log-densities and sums."""
    n, d, k = shape
    features = {"full": (d + 1) * (d + 2) // 2, "tied": d + 1, "diag": 2 * d + 1, "spherical": d + 2}[covariance]
    return 4.0 * n * k * features


Results = dict[tuple[str, Shape], Cells]


def titled(shape: Shape) -> str:
    """Return a shape in words."""
    return f"{shape[0]:,} x {shape[1]}, K = {shape[2]}"


def table(head: list[str], body: list[list[str]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(results: Results, covariance: str, peak: float) -> str:
    """Return two tables: seconds with ratios, and differences."""
    columns = {shape: cells for (kind, shape), cells in results.items() if kind == covariance}
    names = list(next(iter(columns.values())))

    def told(cell: Cell, ours: Cell | None) -> str:
        if cell.failure:
            return cell.failure
        ratio = f" ({cell.seconds / ours.seconds:.2f})" if ours and ours.rounds and ours is not cell else ""
        return f"{cell.seconds:.4f}{ratio}"

    def agreed(cell: Cell) -> str:
        differs = cell.difference is not None and not cell.difference <= TOLERANCE
        return "-" if cell.difference is None else f"**{cell.difference:.0e}**" if differs else f"{cell.difference:.0e}"

    head = [f"{covariance}: seconds an iteration (÷ dask_em)", *map(titled, columns)]
    times = [[n, *[told(cells[n], cells.get("dask_em")) for cells in columns.values()]] for n in names]
    floor = [f"{least_flops(shape, covariance) / peak / 1e9:.4f}" for shape in columns]
    times.append(["*two matrix products at the GEMM peak, computed*", *floor])
    compared = [n for n in names if any(cells[n].difference is not None for cells in columns.values())]
    differences = [[n, *[agreed(cells[n]) for cells in columns.values()]] for n in compared]
    told_apart = table([f"{covariance}: largest difference from dask_em", *head[1:]], differences)
    return table(head, times) + ("\n\n" + told_apart if differences else "")


def versions(names: list[str]) -> list[str]:
    """Return a line for each peer: packages, versions and remark."""

    def of(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"{package} not installed"

    return [f"* {name}: {', '.join(map(of, PEERS[name].packages))}; {PEERS[name].remark}" for name in names]


def machine() -> str:
    """Return processor, cores, system, Python and Java in a sentence."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = named[0] if named else platform.processor() or platform.machine()
    java = shutil.which("java")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr if java else ""
    running = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{processor}, {os.cpu_count()} cores, {running}, {said.splitlines()[0] if said else 'no Java'}"


def draw(results: Results, path: Path) -> None:
    """Draw the ratios, a panel for each covariance type, a group for each shape, a bar for each peer."""
    importlib.import_module("matplotlib").use("Agg")  # here, since the processes that measure need no pictures
    pyplot = importlib.import_module("matplotlib.pyplot")
    kinds = list(dict.fromkeys(kind for kind, _ in results))
    heights = [sum(len(cells) + 1 for (kind, _), cells in results.items() if kind == k) for k in kinds]
    names = [name for name in PEERS if name != "dask_em"]
    colours = dict(zip(names, pyplot.get_cmap("tab10").colors, strict=False))
    figure, panels = pyplot.subplots(
        len(kinds),
        figsize=(9, 1.6 + 0.19 * sum(heights)),
        squeeze=False,
        sharex=True,
        layout="constrained",
        height_ratios=heights,
    )
    drawn: dict[str, Any] = {}
    for kind, panel in zip(kinds, panels[:, 0], strict=True):
        drawn |= _panel(panel, {shape: cells for (k, shape), cells in results.items() if k == kind}, colours)
        panel.set_title(f"{kind} covariances", loc="left", fontsize=10)
    panels[-1, 0].set_xlabel("time of an EM iteration ÷ dask_em's, log scale (right of the line: slower than dask_em)")
    figure.legend(drawn.values(), drawn, loc="outside upper center", ncols=min(6, len(drawn)), frameon=False)
    figure.savefig(path, dpi=150)


def _panel(panel: Any, columns: dict[Shape, Cells], colours: dict[str, Any]) -> dict[str, Any]:
    """Draw one covariance type; return a bar for each peer, for the legend."""
    drawn: dict[str, Any] = {}
    centres, at = [], 0.0
    for cells in columns.values():
        ours = cells["dask_em"].seconds
        ratios = {n: c.seconds / ours for n, c in cells.items() if n != "dask_em" and c.seconds / ours > 0}
        centres.append(at + (len(ratios) - 1) / 2)
        for name, ratio in ratios.items():
            drawn[name] = panel.barh(at, ratio - 1, left=1, height=0.85, color=colours[name])
            side = 3 if ratio >= 1 else -3
            aligned = {"va": "center", "ha": "left" if side > 0 else "right", "fontsize": 7}
            label = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
            panel.annotate(label, (ratio, at), (side, 0), textcoords="offset points", **aligned)
            at += 1
        at += 1
    panel.set_xscale("log")
    panel.axvline(1, color="black", linewidth=1)
    panel.set_yticks(centres, list(map(titled, columns)))
    panel.tick_params(axis="y", length=0)
    panel.invert_yaxis()
    panel.margins(x=0.08, y=0.02)
    panel.xaxis.set_major_formatter("{x:g}")
    panel.grid(axis="x", alpha=0.3)
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    return drawn
