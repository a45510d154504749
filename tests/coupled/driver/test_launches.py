"""What a step of ResNet-50 asks of a GPU beside its backward: launches and transfers, counted on shapes."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fake_gpu import GPU, CountedGraphs, fake_gpu
from helpers import tables

from coupled.arms.arm import Arm
from coupled.arms.network import forward_on_shapes
from coupled.arms.squares import Squares
from coupled.config import from_tables
from coupled.driver.guard import Guard
from coupled.graphs import OFF
from coupled.inputs.certificate import Certificate
from coupled.inputs.draws import Integers
from coupled.inputs.source import Batch
from coupled.objectives.masks import pair_masks
from coupled.ranks.mesh import ALONE
from coupled.recording.layout import train_layout
from coupled.recording.observers import observers_of
from coupled.recording.recorder import Recorder

ROOT = Path(__file__).parents[3]
B = 16
CONFIG = from_tables(
    tables(
        arms={"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}},
        batches={"size": B},
        model={"encoder": "resnet50", "projection_hidden": 64, "projection_dim": 16},
        optimiser={"name": "lars", "learning_rate": 0.1, "clip_norm": 1.0},
        train={"device": "cuda"},
        record={"panel": {}, "surrogate": {}, "pixels": {}},
    )
)
LABELS = {"size": torch.arange(B) % 3}
IDS = torch.arange(B)
LINKS = {None: Certificate(b"").extend(Integers(IDS, IDS, IDS), 0.1)}


class Steps:
    """The acts of a step, as the loop has them, of arms on a GPU that is not there; their counts by name."""

    def __init__(self, counted, graphs):
        self.counted, self.counts, self.in_place = counted, {}, graphs.is_on
        self.arms = {name: Arm(name, spec, CONFIG, GPU) for name, spec in CONFIG.arms.items()}
        for arm in self.arms.values():
            arm.graphs, arm._in_place = graphs, graphs.is_on
        setting = SimpleNamespace(config=CONFIG, panels=SimpleNamespace(images={"panel": IDS}), ledger=None)
        commits, writer = SimpleNamespace(mesh=ALONE), SimpleNamespace(failed=False)
        self.guard = Guard(CONFIG, self.arms, commits, writer, behind=True)
        observers, streams = observers_of(setting), train_layout(CONFIG)
        self.recorder = Recorder(CONFIG, streams, self.arms, observers, commits, None, "", self.guard, graphs)
        geometry = self.recorder.geometry
        geometry.counted = slice(None)  # which elements a mask has is known of real ones alone
        geometry._starts = {name: torch.empty_like(geometry.room(arm)) for name, arm in self.arms.items()}

    def step(self, step):
        labels = {name: torch.empty(B, device=GPU, dtype=torch.int64) for name in LABELS}
        pairs = {name: pair_masks(values) for name, values in labels.items()}
        pixels = torch.empty(2 * B, 3, 12, 12, device=GPU)
        batch = Batch(step, IDS, IDS, IDS, pixels, LABELS, pairs, in_place=self.in_place)
        self._count("forward", lambda: [arm.forward(batch) for arm in self.arms.values()])
        for arm in self.arms.values():  # as a backward leaves it, which needs a real GPU
            arm.squares = Squares(arm.state, arm.optimiser.layers)
        self._count("guard", lambda: self.guard.check(step))
        self._count("observe", lambda: self.recorder.observe(step, batch, LINKS))
        self._count("update", lambda: [arm.update(0.1, self.guard.halted) for arm in self.arms.values()])
        self._count("observe the update", lambda: self.recorder.observe_update(step))
        self.recorder._coming.clear()  # what has no elements cannot arrive
        self.guard.coming.clear()

    def _count(self, name, act):
        self.counted.launches.clear()
        self.counted.to_host.clear()
        act()
        self.counts[name] = len(self.counted.launches), list(self.counted.to_host)


@pytest.fixture(scope="module", params=["graphs", "no graphs"])
def counts(request):
    """Of the second step: the first puts on the device what all others find there."""
    forward_on_shapes(CONFIG)  # once in a process, and not on such tensors
    with fake_gpu() as counted:
        steps = Steps(counted, CountedGraphs(counted) if request.param == "graphs" else OFF)
        steps.step(0)
        steps.step(1)
        return steps.counts


def test_a_step_brings_one_thing_to_the_host_and_waits_for_nothing(counts):
    transfers = [(name, transfer) for name, (_, to_host) in counts.items() for transfer in to_host]
    # All that is recorded, the guard's flags among it, into memory that the GPU writes by itself.
    assert transfers == [("observe the update", "aten.copy_.default")]


def test_observers_start_no_more_kernels_than_the_docs_say(counts, request):
    observing = counts["observe"][0] + counts["observe the update"][0]
    graphs = "no graphs" not in request.node.name
    assert observing / len(CONFIG.arms) <= (7 if graphs else 75)


def test_an_update_starts_no_more_kernels_than_the_docs_say(counts, request):
    graphs = "no graphs" not in request.node.name
    assert counts["update"][0] / len(CONFIG.arms) <= (5 if graphs else 54)


def test_the_page_has_these_counts(counts, request):
    arms, graphs = len(CONFIG.arms), "no graphs" not in request.node.name
    rows = dict(re.findall(r"\n\| (\w+[^|]*) \| ([^|]*) \|[^|]*\|(?=\n)", (ROOT / "docs/gpu.md").read_text()))
    observed = (counts["observe"][0] + counts["observe the update"][0]) // arms
    updated = counts["update"][0] // arms
    found = {
        "forward and loss": (r"^(\d+),", counts["forward"][0] // arms),
        "guard": (r"^(\d+)$", counts["guard"][0] // arms),
        "observers": (r"(\d+) by graphs" if graphs else r"(\d+) without", observed),
        "update": (r"(\d+) by graphs" if graphs else r"(\d+) without", updated),
    }
    assert {name: int(re.search(pattern, rows[name])[1]) for name, (pattern, _) in found.items()} == {
        name: count for name, (_, count) in found.items()
    }
