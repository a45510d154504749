"""Figures and commands do not depend on whose process started them."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import matplotlib
import pytest

import analysis
from analysis.cli import main
from analysis.curves import figure as figures
from analysis.output import figure as frame

ROOT = Path(__file__).parents[2]
NOTEBOOK = "module://matplotlib_inline.backend_inline"  # not installed here
RC = """
backend: nonsense
text.usetex: True
savefig.dpi: 33
savefig.bbox: tight
font.family: no such font
axes.grid: perhaps
lines.linewidth: 9
not a line
"""


def called(environment, *words):
    """A process of its own: what is imported, and when, matters."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    environment = {name: value for name, value in environment.items() if value is not None}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, check=False)


@pytest.mark.slow
def test_the_command_draws_the_same_bytes_in_the_oddest_surroundings(run, trained, tmp_path):
    expected = [path.read_bytes() for path in figures.save(run, analysis.curves(run))]
    (tmp_path / "matplotlibrc").write_text(RC)
    copy = shutil.copytree(trained, tmp_path / trained.name, ignore=shutil.ignore_patterns("analysis"))
    odd = {
        "MPLBACKEND": NOTEBOOK,
        "MPLCONFIGDIR": "/dev/null/no",
        "MATPLOTLIBRC": str(tmp_path),
        "HOME": None,
        "TMPDIR": "/dev/null/no",
        "NUMBA_CACHE_DIR": "/dev/null/no",
        "TERM": "dumb",
        "COLUMNS": "20",
        "PYTHONWARNINGS": "error",
        "PYTHONOPTIMIZE": "2",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    call = "import os, sys; os.chdir('/proc'); from analysis.cli import main; sys.exit(main())"
    done = called(odd, "-c", call, "curves", str(copy))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii() and b"| nscl" in done.stdout
    assert [(copy / "analysis" / name).read_bytes() for name in figures.NAMES] == expected


# What is not installed, as a notebook's backend need not be where a command runs, is no choice.
CHOSEN = "agg" if find_spec("matplotlib_inline") is None else NOTEBOOK


@pytest.mark.parametrize(("backend", "chosen"), [(NOTEBOOK, CHOSEN), ("svg", "svg")])
def test_a_session_keeps_its_backend(backend, chosen):
    code = (
        "import os; from analysis.cli import main; main(['--help']); import matplotlib.pyplot\n"
        f"assert os.environ['MPLBACKEND'] == {backend!r} and matplotlib.get_backend() == {chosen!r}"
    )
    done = called({"MPLBACKEND": backend, "DISPLAY": None, "WAYLAND_DISPLAY": None}, "-c", code)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("backend", [NOTEBOOK, "nonsense", "", None])
def test_a_session_with_matplotlib_is_left_alone(backend, monkeypatch, capsys):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    if backend is not None:
        monkeypatch.setenv("MPLBACKEND", backend)
    before, settings = dict(os.environ), dict(matplotlib.rcParams)
    assert main(["--help"]) == 0
    assert (dict(os.environ), dict(matplotlib.rcParams)) == (before, settings)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("plain ±μ‖", "plain ±μ‖"), ("実験", "\\u5b9f\\u9a13"), ("two\nlines", "two\nlines"), ("\udcff", "\\udcff")],
)
def test_what_the_font_lacks_is_escaped(name, shown):
    assert frame.covered(name) == shown


def test_a_run_named_in_any_script_is_drawn_without_a_warning(trained, tmp_path):
    run = analysis.open_run(shutil.copytree(trained, tmp_path / ("実験\n" + os.fsdecode(b"\xff"))))
    png, svg = figures.save(run, analysis.curves(run))  # warnings are errors here
    assert png.is_file() and svg.is_file()
