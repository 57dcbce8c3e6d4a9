"""What scale.py tells: the page of its results."""

from __future__ import annotations

from dataclasses import dataclass, fields

from checking import Check
from comparison import table
from simulation import Constants, Model, Pass, Site

from dask_em.plan import Plan

__all__ = ["NEAR", "Measured", "Place", "Swept", "enough", "page", "spoken"]

Swept = list[tuple[Model, dict[int, list[tuple[int, Pass]]]]]  # by rows: workers and their pass
NEAR = 1.25  # times the best pass: fewer workers than that takes are enough
UNITS = {"begin": "s", "submit": "s", "carried": "s a byte", "event": "s", "hop": "s", "task": "s", "add": "s a byte"}
UNITS |= {"transfer": "bytes/s", "decode": "bytes/s", "stored": ""}
MEANT = {
    "begin": "before the first block of a pass, however few",
    "submit": "of driver and scheduler for each task, before the first block",
    "carried": "for each byte of parameters that travel with blocks, before the first block",
    "event": "of the scheduler for each task",
    "hop": "from the scheduler to a worker",
    "task": "of a worker for each task, beside its work",
    "add": "to add statistics to others",
    "transfer": "from one worker to another",
    "decode": "decoded by one core, Zarr's default codec",
    "stored": "bytes at rest for each byte decoded",
}


@dataclass(frozen=True)
class Measured:
    """What was measured, when and where."""

    date: str
    machine: str
    start: float  # seconds until a scheduler and two workers are there
    constants: Constants
    models: list[Model]
    checks: list[Check]
    note: str = ""  # what a person has to say of it


@dataclass(frozen=True)
class Place:
    """A fit at a place."""

    name: str
    rows: int
    model: Model
    plan: Plan
    seconds: tuple[float, float, float]  # a pass that reads all, one where rows stay as they may, a fit


def spoken(seconds: float) -> str:
    """Return seconds as people say them: two digits."""
    for unit, length in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{float(f'{seconds / length:.2g}'):,g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} s"


def nbytes(number: float) -> str:
    """Return bytes as people say them."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{float(f'{number / size:.3g}'):g} {unit}"
    return f"{number:.0f} bytes"


def enough(passes: list[tuple[int, Pass]]) -> tuple[int, Pass]:
    """Return the fewest workers whose pass is nearly the best, and that pass."""
    best = min(done.seconds for _, done in passes)
    return next((workers, done) for workers, done in passes if done.seconds <= NEAR * best)


def page(known: Measured, site: Site, swept: Swept, places: list[Place]) -> str:
    """Return the page."""
    said = (
        f"Constants measured {known.date} by `benchmarks/scale.py --measure` on {known.machine}; other processes used "
        "the machine meanwhile, so each is the least of several. What is simulated, and what is left out, stands at "
        "the head of `benchmarks/simulation.py`; blocks and tree are `dask_em.plan`'s for each number of rows."
    )
    supposed = (
        f"Supposed, not measured: a worker reads {nbytes(site.store_each)}/s, all together "
        f"{nbytes(site.store_total)}/s; links carry {nbytes(site.network)}/s; rows are float32 in storage units of "
        "64 MB (256 MB for 1e12 rows of 64 columns), no worker fails, and every pass reads all rows."
    )
    pictured = "![Seconds a pass against workers, a line for each number of rows](scale.png)"
    parts = ["# A pass against workers and rows, simulated", said, supposed, pictured, "## Constants"]
    parts += [constants_table(known), "## Simulated beside measured", checks_table(known.checks)]
    parts += [known.note] * bool(known.note) + ["## Passes"]
    parts += [sweep_table(model, passes) for model, passes in swept]
    return "\n\n".join([*parts, "## A laptop, a node, a hundred nodes", places_table(places)])


def constants_table(known: Measured) -> str:
    """Return the constants, and those of each model."""
    body = [
        [MEANT[f.name], f"`{f.name}`", f"{getattr(known.constants, f.name):.3g} {UNITS[f.name]}"]
        for f in fields(known.constants)
    ]
    body.append(["until a scheduler and two workers are there", "", f"{known.start:.1f} s"])
    for model in known.models:
        what = f"{model.columns} columns, K = {model.components}, full"
        body += [
            [f"{what}: the kernel on one core", "`flops`", f"{model.flops / 1e9:.0f} Gflop/s"],
            [f"{what}: what travels down", "`parameters`", nbytes(model.parameters)],
            [f"{what}: the driver between two passes", "`driver`", f"{model.driver:.3f} s"],
        ]
    return table(["constant", "name", "measured"], body)


def checks_table(checks: list[Check]) -> str:
    """Return simulated beside measured passes."""
    head = ["a pass", "workers", "blocks", "measured", "simulated", "simulated / measured", "CPU of all ÷ cores here"]
    seconds = [[f"{s:.2f} s" for s in (c.measured, c.simulated, c.cpu)] for c in checks]
    body = [
        [c.what, f"{c.workers}", f"{c.blocks:,}", *told[:2], f"{c.ratio:.2f}", told[2]]
        for c, told in zip(checks, seconds, strict=True)
    ]
    return table(head, body)


def sweep_table(model: Model, passes: dict[int, list[tuple[int, Pass]]]) -> str:
    """Return a line for each number of rows."""
    shown = (1, 16, 128, 1024, 10_000)
    body = []
    for rows, line in passes.items():
        by = dict(line)
        few, done = enough(line)
        blocks = by[1].tasks
        times = [spoken(by[workers].seconds) for workers in shown]
        body.append([f"{rows:.0e}".replace("+", ""), f"{blocks:,}", *times, f"{few:,}", spoken(done.seconds)])
    head = [
        f"{model.columns} columns, K = {model.components}: rows",
        "tasks",
        "1 worker",
        *(f"{w:,} workers" for w in shown[1:]),
    ]
    return table([*head, f"enough workers (within {NEAR:g} of the best)", "a pass with them"], body)


def places_table(places: list[Place]) -> str:
    """Return a line for each data and model, three columns for each place."""
    names = list(dict.fromkeys(place.name for place in places))
    body = []
    for first in places[:: len(names)]:
        here = [place for place in places if (place.rows, place.model) == (first.rows, first.model)]
        what = f"{first.rows:.0e} x {first.model.columns}, K = {first.model.components}".replace("+", "")
        told = [" / ".join(map(spoken, place.seconds)) for place in here]
        body.append([what, nbytes(first.plan.bytes_per_pass), nbytes(first.plan.memory_bytes), *told])
    head = ["rows x columns", "a pass decodes", "memory of a worker, beside 300 MB"]
    return table([*head, *(f"{name}: pass that reads all / later pass / fit" for name in names)], body)
