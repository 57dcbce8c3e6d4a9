"""The time of a pass against workers (1 to 10,000) and rows (1e6 to 1e12), simulated from measured constants.

    python benchmarks/scale.py --measure            # measures constants and checks here, in some minutes; simulates
    python benchmarks/scale.py                      # simulates with the constants in results/scale.json
    python benchmarks/scale.py --set event=0.0003 --set submit=0 --store-total 1e12 --out /tmp/scale     # what if

``simulation.py`` says what is simulated and what is left out, ``measuring.py`` how constants are measured,
``checking.py`` which passes they are held to. Writes scale.md, scale.png and, where it measured, scale.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from checking import Check, checks
from comparison import machine
from measuring import Declared, constants, models
from picturing import draw
from simulation import Constants, Model, Pass, Site, simulate, work_of
from telling import Measured, Place, page

from dask_em import GaussianMixture
from dask_em.execution.resident import _free
from dask_em.plan import Plan

WORKERS = (*(2**i for i in range(14)), 10_000)
ROWS = tuple(10**i for i in range(6, 13))
UNIT_BYTES, UNITS_LEAST, UNITS_MOST = 64_000_000, 64, 1_000_000  # storage units; larger ones rather than more
PASSES = 20  # of a fit, over all rows
PLACES = (  # name, workers, bytes a second that all read, of each worker, its memory in bytes
    ("laptop, 8 cores, 16 GB", 8, 2e9, 2e9, 2e9),
    ("node, 64 cores, 256 GB", 64, 5e9, 5e9, 4e9),
    ("100 nodes, 6,400 cores", 6400, 1e11, 5e7, 4e9),
)
ASKED = ((10**6, 0), (10**8, 0), (10**9, 0), (10**10, 0), (10**12, 0), (10**8, 1), (10**10, 1))  # rows and model


def declared(rows: int, model: Model) -> Plan:
    """Return the plan of a fit to so many rows of float32 that nobody has."""
    unit = max(min(UNIT_BYTES // (4 * model.columns), rows // UNITS_LEAST), rows // UNITS_MOST)
    return GaussianMixture(model.components).plan(Declared(model.columns, rows, unit))


def sweep(model: Model, found: Constants, site: Site) -> dict[int, list[tuple[int, Pass]]]:
    """Return passes by rows and workers, all rows read anew."""
    passes: dict[int, list[tuple[int, Pass]]] = {}
    for rows in ROWS:
        planned = declared(rows, model)
        for workers in WORKERS:
            at = dataclasses.replace(site, workers=workers)
            done = simulate(planned, work_of(planned, model, found, at), found, at, model)
            passes.setdefault(rows, []).append((workers, done))
        print(f"{model.columns} columns, K = {model.components}: {rows:.0e} rows simulated", flush=True)
    return passes


def places(known: Measured, network: float) -> list[Place]:
    """Return what fits take on a laptop, a node and a hundred of them."""
    found: list[Place] = []
    for rows, which in ASKED:
        model = known.models[which]
        planned = declared(rows, model)
        for name, workers, total, each, memory in PLACES:
            free = _free({"memory_limit": memory, "nthreads": 1}, planned.layout.working)
            later = Site(workers, each, total, network, keep=workers * free)
            first = dataclasses.replace(later, keep=0.0)
            reading = work_of(planned, dataclasses.replace(model, flops=float("inf")), known.constants, first)
            sample = dataclasses.replace(reading, sums=planned._sample_bytes)
            seconds = [
                simulate(planned, sample, known.constants, first).seconds,
                *(
                    simulate(planned, work_of(planned, model, known.constants, s), known.constants, s, model).seconds
                    for s in (first, later)
                ),
            ]
            fit = known.start + seconds[0] + PASSES * (seconds[2] + model.driver)
            found.append(Place(name, rows, model, planned, (seconds[1], seconds[2], fit)))
    return found


def measured(rows: list[int]) -> Measured:
    """Measure constants, and hold simulated passes to measured ones."""
    found, add = models()
    with tempfile.TemporaryDirectory(prefix="dask_em-benchmark-") as folder:
        known, start = constants(Path(folder), min(rows), add)
        held = checks(Path(folder), rows, known, found[0])
    here = machine().rpartition(", ")[0]  # without Java
    return Measured(f"{datetime.now(UTC):%Y-%m-%d}", here, start, known, found, held)


def kept(path: Path) -> Measured:
    """Return what was measured before."""
    told: dict[str, Any] = json.loads(path.read_text())
    told["constants"] = Constants(**told["constants"])
    told["models"] = [Model(**model) for model in told["models"]]
    told["checks"] = [Check(**check) for check in told["checks"]]
    return Measured(**told)


def main() -> None:
    """Measure where asked to, simulate, and write."""
    results = Path(__file__).parent / "results"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="measure the constants and the checks on this machine")
    parser.add_argument("--rows", default="5000000,10000000", help="of the stores that are fitted to check, by commas")
    parser.add_argument("--set", action="append", default=[], metavar="CONSTANT=VALUE", help="instead of the measured")
    parser.add_argument("--store-each", type=float, default=1e8, help="bytes a second that a worker reads")
    parser.add_argument("--store-total", type=float, default=1e11, help="bytes a second that all workers read")
    parser.add_argument("--network", type=float, default=1.25e9, help="bytes a second of each link")
    parser.add_argument("--slow", type=float, default=1.0, help="times as long as others, of one worker in a hundred")
    parser.add_argument("--out", type=Path, default=results)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # passes are counted, not convergence
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.measure:
        known = measured([int(n) for n in arguments.rows.split(",")])
        (arguments.out / "scale.json").write_text(json.dumps(dataclasses.asdict(known), indent=1) + "\n")
    else:
        known = kept(results / "scale.json")
    instead = {name: float(value) for name, _, value in (given.partition("=") for given in arguments.set)}
    known = dataclasses.replace(known, constants=dataclasses.replace(known.constants, **instead))
    site = Site(1, arguments.store_each, arguments.store_total, arguments.network, slow=arguments.slow)
    swept = [(model, sweep(model, known.constants, site)) for model in known.models]
    text = page(known, site, swept, places(known, arguments.network))
    (arguments.out / "scale.md").write_text(text + "\n", encoding="utf-8")
    draw(swept, arguments.out / "scale.png")
    print(text)


if __name__ == "__main__":
    main()
