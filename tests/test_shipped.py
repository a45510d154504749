"""The shipped configs for a few steps, at full size but for the panel, through the commands a user types. Minutes:
marked slow.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import analysis
from analysis.bounds.checks import violations
from analysis.response import response
from analysis.response.table import violations as path_violations
from coupled.store import open_tensors, tree_hash

pytestmark = pytest.mark.slow
CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.toml"))
OURS = [path for path in CONFIGS if 'device = "cuda"' not in path.read_text()]
STEPS = 5  # with panels at 0, 1, 2, 3 and 5
PAPERS = [path for path in CONFIGS if path not in OURS]
assert OURS
assert PAPERS


def command(module, *arguments):
    """Run a command as its own process, as a user does; its standard output."""
    call = [sys.executable, "-c", f"import sys; from {module}.cli import main; sys.exit(main())", *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def trained(path, folder, steps):
    shorter = ["optimiser.warmup=3"] if "warmup" in path.read_text() else []  # than the steps
    overrides = (f"train.steps={steps}", *shorter, "panel.size=256", f"paths.runs={folder}", "name=run")
    command("coupled", "train", path, *(part for override in overrides for part in ("--set", override)))
    return folder / "run"


# What makes a recipe of the papers small enough for a CPU; all else of it stays.
SMALL = (
    "data={name = 'shapes', labelling = 'shape'}",
    "batches.size=24",
    "views.size=32",
    "model.width=16",
    "model.projection_hidden=64",
    "optimiser.warmup=2",
    "train.device=cpu",
    "train.steps=3",
    "panel={size = 32, surrogate_size = 8, stages = true}",
)


@pytest.mark.parametrize("path", PAPERS, ids=lambda p: p.stem)
def test_the_papers_recipes_train_and_draw_at_a_small_size(path, tmp_path):
    overrides = [*SMALL, f"paths.runs={tmp_path}", "name=run"]
    if "vit" in path.stem:
        overrides += ["model.width=24", "model.heads=2", "model.depth=2"]
    command("coupled", "train", path, *(part for override in overrides for part in ("--set", override)))
    command("analysis", "curves", tmp_path / "run")
    distance = open_tensors(tmp_path / "run/records/scalars/ce/steps-000000001-000000002.safetensors")["state.distance"]
    assert (distance > 0).all()


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.stem)
def test_shipped_configs_train_and_draw_and_real_images_repeat_their_bytes(path, tmp_path):
    run = trained(path, tmp_path, STEPS)
    out = command("analysis", "curves", run)
    assert str(run) in out
    assert (run / "analysis/curves.png").stat().st_size > 20_000
    assert (run / "analysis/curves.csv").read_text().count("\n") > 100
    bounds = analysis.bounds(analysis.open_run(run))
    assert {curve.bound for curve in bounds} >= {"per anchor", "tighter", "sharp", "P2"}
    assert violations(bounds) == []
    if path.stem == "response":  # float64, a ledger at every step
        found = response(analysis.open_run(run))
        assert {"joint", "along the path"} <= {curve.bound for curve in found.curves} and not path_violations(found)
    if path.stem in ("fashion_mnist", "fashion_mnist_float64"):  # on two threads
        assert tree_hash(run) == tree_hash(trained(path, tmp_path / "again", STEPS))
        assert not distance(run, "twin").tobytes().strip(b"\0")
        assert (distance(run, "nudged") > 0).all()


def distance(run, arm):
    """To the reference, of every state."""
    values = np.concatenate(
        [open_tensors(path)["state.distance"] for path in (run / "records/scalars" / arm).iterdir()]
    )
    assert len(values) == STEPS + 1
    return values
