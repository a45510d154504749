"""What the bench counts and prints; nothing here depends on how long a thing takes."""

import itertools
import re
from dataclasses import fields, replace

import pytest
from helpers import tiny

from coupled.bench import steps
from coupled.bench.clock import Clock
from coupled.bench.steps import ACTS, Bench, bench, in_blocks
from coupled.cli import main
from coupled.commands.bench import _panels
from coupled.config.schema_stream import OwnStream
from coupled.config.toml import to_toml
from coupled.errors import UserError

pytestmark = pytest.mark.slow
TWO = {"cl": {"objective": "dcl"}, "twin": {"kind": "twin"}}
ROWS = [*ACTS, "step", "bare compute", "stock"]
STREAMS = ("scalars", "layers", "motion", "similarity", "panel", "surrogate", "pixels")
NO_PANELS = {"record": {"panel": {"log": 0, "last": False}, "surrogate": {"log": 0, "last": False}}}


@pytest.fixture
def ticking(monkeypatch):
    """A clock that moves on by a second whenever it is looked at: an act takes as many as it is called. The disk takes
    none.
    """
    looks = itertools.count()
    monkeypatch.setattr(Clock, "mark", lambda self: float(next(looks)))
    monkeypatch.setattr(steps, "_host_seconds", lambda act: 0.0 * bool(act()))


def printed(folder, capsys, *arguments, **sections):
    path = folder / "tiny.toml"
    path.write_text(to_toml(tiny(folder, **{"arms": TWO, **sections})))
    assert main(["bench", str(path), "--steps", "1", *arguments]) == 0
    return capsys.readouterr().out


def test_bench_times_every_act_and_leaves_no_run(ticking, tmp_path):
    times = bench(tiny(tmp_path, arms=TWO), steps=3)
    assert (list(times.acts), times.steps, times.blocks) == (list(ACTS), 3, 3)
    assert [times.acts[act] for act in ("data", "forward", "backward", "optimiser")] == [1, *[len(TWO)] * 3]
    assert min(times.acts["guard"], times.acts["observe"], times.acts["record"]) > 0
    assert times.bare == times.stock == times.views == times.panel == times.panel_ratio == 1
    assert times.step == pytest.approx(sum(times.acts.values()))
    assert times.ratio == times.bare_ratio == pytest.approx(times.step)
    assert times.flops > 0 and times.memory is None
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_counts_as_often_as_the_config_has_one(ticking, tmp_path):
    """At every step it is a whole act; at two steps of a hundred, a fiftieth of one."""
    often, seldom = (
        bench(tiny(tmp_path, arms=TWO, train={"steps": 100}, checkpoints={"keep": keep, "recovery": {"every": 0}}), 2)
        for keep in ({"every": 1, "last": True}, {"steps": [50, 100], "last": False})
    )
    assert often.acts["record"] > 1 and seldom.acts["record"] == pytest.approx(often.acts["record"] * 2 / 101)
    assert often.acts["forward"] == seldom.acts["forward"]


def test_steps_are_taken_in_ten_blocks_or_more_of_at_most_five(tmp_path):
    blocks = {1: (1, 1), 9: (1, 9), 25: (2, 13), 40: (4, 10), 50: (5, 10), 60: (5, 12)}
    assert {steps: in_blocks(steps) for steps in blocks} == blocks
    with pytest.raises(UserError, match="at least 1"):
        bench(tiny(tmp_path, arms=TWO), steps=0)


def test_bench_prints_every_row_the_ratio_to_stock_last_and_no_nan(tmp_path, capsys):
    text = printed(tmp_path, capsys)
    lines = text.splitlines()
    starts = [line.strip() for line in lines]
    assert all(any(start.startswith(row) for start in starts) for row in ROWS)
    assert "nan" not in text.lower() and "inf" not in text.lower()
    assert re.match(r"ratio to bare compute: \d+\.\d+ ", lines[-2])
    assert re.match(
        r"ratio to stock: \d+\.\d+ \(resnet-small of width 4, 12 px, 2 arms, .* stock contiguous", lines[-1]
    )
    assert re.search(r"panels: \d+ ms an observation.*; \d+\.\d+ of an evaluation", text)
    assert re.search(r"observers and guard: \d+\.\d+% of the step", text)


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        (NO_PANELS, "panels: none is recorded"),
        ({"record": {name: {"every": 0, "log": 0, "last": False} for name in STREAMS}}, "panels: none is recorded"),
        ({"arms": {"cl": {"objective": "dcl"}}}, "1 arm, "),
        ({"train": {"steps": 0}}, "1 step in one block, so no spread: it takes --steps 2 or more"),
    ],
)
def test_what_bench_has_not_measured_is_a_reason_and_no_number(sections, reason, ticking, tmp_path, capsys):
    text = printed(tmp_path, capsys, **sections)
    assert reason in text
    assert not re.search(r"\b(nan|inf|infinity|none)\b", text.replace("none is recorded", ""), re.IGNORECASE)


def test_a_panel_that_only_a_stream_of_ones_own_looks_at_is_not_said_to_be_none(tmp_path):
    config = tiny(tmp_path, arms=TWO, **NO_PANELS)
    own = OwnStream(every=1, of="panel", shape=(), dtype="float32")
    config = replace(config, record=replace(config.record, own={"spread": own}))
    times = Bench(**dict.fromkeys((field.name for field in fields(Bench)), None))
    assert _panels(times, config) == "not timed: only spread of your own looks at one"
