from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest

from dask_em.kernel import compile_ahead, compiled_kernel

pytestmark = pytest.mark.skipif(compiled_kernel() is None, reason="nothing is compiled: no numba")

FIT = """
import json, numpy, dask_em
from dask_em.kernel import compiled_kernel
rows = numpy.random.default_rng(0).standard_normal((50, 2))
dask_em.GaussianMixture(2, means_init=rows[:2], weights_init=[0.5, 0.5], precisions_init=[numpy.eye(2)] * 2).fit(rows)
stats = compiled_kernel().summarize.stats
print(json.dumps([sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))
"""


def test_so_that_a_worker_with_little_memory_only_loads_it(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIT], env=environment, capture_output=True, text=True, check=True
    )
    loaded, compiled = json.loads(told.stdout)
    assert (loaded, compiled) == (1, 0)
    assert [file.name.split("-")[0] for file in tmp_path.rglob("*.kept")] == ["summarize"]


def test_and_where_no_process_can_be_started_it_is_compiled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = compiled_kernel()
    assert kernel is not None
    asked: list[str] = []
    monkeypatch.setattr(kernel, "_READY", set())
    monkeypatch.setattr(kernel, "_mark", lambda *types: asked.append(types) or Path("nowhere"))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    for _ in range(2):
        kernel.compile_apart("summarize", np.dtype("f4"), np.dtype("f8"))
    assert asked == [("summarize", "float32", "float64")]


CHILD = """
from dask_em.kernel.compiling import compile_here, evaluate
compile_here("evaluate", "float32", "float64")
print(sum(evaluate.stats.cache_misses.values()))
"""


def test_once_where_several_workers_need_it_at_the_same_time(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", CHILD]
    children = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(child.communicate()[0].strip() for child in children) == ["0", "1"]


def test_before_it_is_needed_for_the_type_that_rows_are_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: SimpleQueue[tuple[str, object, object]] = SimpleQueue()
    monkeypatch.setattr(compiled_kernel(), "compile_apart", lambda *types: asked.put(types))
    compile_ahead(np.dtype("int16"))
    double = np.dtype("float64")
    assert {asked.get(timeout=60) for _ in range(2)} == {("summarize", double, double), ("evaluate", double, double)}
