"""Reading a run calls nothing that could run a stranger's code: whatever could is made to raise while it is read.

There is one exception to "no pickle": the files of one data set, CIFAR's python version, are pickles. They are never
part of a run, and Python's unpickler does not read them (coupled/data/unpickling.py; test_cifar_pickles.py).
"""

import builtins
import pickle
import re
from pathlib import Path

import pytest
import torch
from helpers import tiny

import analysis
import coupled
from analysis.cli import main as analyze
from coupled.cli import main as run_command
from coupled.driver.train import train

MODULES = [pickle, torch]
try:
    import yaml

    MODULES.append(yaml)
except ImportError:
    pass


def forbidden(*arguments, **options):
    raise AssertionError("code could have been run from a file")


@pytest.fixture
def path(tmp_path):
    """A finished run; after everything was read once, for imports and compiled kernels have pickles of their own."""
    warm, path = (train(tiny(tmp_path / name)) for name in ("warm", "run"))
    everything(warm)
    return path


@pytest.fixture
def traps(monkeypatch):
    """Whatever could run a stranger's code raises."""

    def set_all():
        for name in ("load", "loads", "Unpickler"):
            monkeypatch.setattr(pickle, name, forbidden)
        for name in ("load", "safe_load", "full_load", "unsafe_load"):
            for module in MODULES[1:]:
                monkeypatch.setattr(module, name, forbidden, raising=False)
        monkeypatch.setattr(builtins, "eval", forbidden)

    return set_all


def everything(path):
    """Whatever reads a run, in this process: resume, verify, diff, export, analysis."""
    for command in (
        ["resume", str(path), "--from", "3", "--ranks", "1"],
        ["verify", str(path), "--replay", "1"],
        ["diff", str(path), str(path)],
        ["export", str(path), "--arm", "cl"],
    ):
        assert run_command(command) == 0, command
    for command in ("curves", "bounds", "divergence", "report"):
        assert analyze([command, str(path)]) == 0, command
    assert len(analysis.open_run(path).curve("cka", arm="nscl").steps)


@pytest.mark.slow
def test_reading_a_run_unpickles_and_evaluates_nothing(path, traps):
    traps()
    everything(path)


def test_the_traps_would_be_seen(traps):
    traps()
    for trap in (lambda: pickle.loads(b""), lambda: torch.load("x"), lambda: builtins.eval("1")):
        with pytest.raises(AssertionError, match="code could have been run"):
            trap()


def test_nothing_of_ours_imports_pickle():
    """Nor do data sets: the reader of CIFAR's pickles is our own, and calls nothing."""
    packages = Path(coupled.__file__).parent, Path(analysis.__file__).parent
    for source in (path for package in packages for path in package.rglob("*.py")):
        text = source.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) (c?[pP]ickle|dill|joblib|cloudpickle|marshal|shelve)\b", text, re.M), (
            source
        )
