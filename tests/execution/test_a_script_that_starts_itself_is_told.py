"""A script that starts local workers outside ``if __name__ == "__main__"`` is told so, not buried in tracebacks."""

import subprocess
import sys

SCRIPT = """
import dask_em
with dask_em.cluster("local", workers=2):
    pass
"""


def test_in_a_sentence(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SCRIPT)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    *_, last = done.stderr.strip().splitlines()
    assert "Each worker imports mine.py first: " in last
    assert 'below the line if __name__ == "__main__":' in last
    assert "bootstrapping" not in done.stderr


def test_and_runs_where_it_has_that_line(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        SCRIPT.replace("with", 'if __name__ == "__main__":\n  with').replace("    pass", '    print("done")')
    )
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
