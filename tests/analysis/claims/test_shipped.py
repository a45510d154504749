"""The sweeps that ship for the claims: what they are, what their heads say, and that every rule has one."""

import re
from pathlib import Path

import numpy as np
import pytest

from analysis.aggregation.gap import Gap
from analysis.aggregation.summary import Summary
from analysis.claims.parts import select
from analysis.claims.rules import FROM_STEP, rules
from analysis.claims.sweeps import AXES, Sweep, SweepRun
from coupled.config import resolved
from coupled.sweeps.fields import target
from coupled.sweeps.reading import load
from coupled.theory.learning_rate import learning_rate

ROOT = Path(__file__).parents[3]
SWEEPS = {path.stem: path for path in sorted((ROOT / "configs/claims").glob("*.toml"))}
RUNS = {"batch_size": 45, "classes": 20, "floor": 5, "granularity": 5, "imbalance": 15, "seeds": 5, "temperature": 5}
# Which sweeps decide which rows.
DECIDED = {
    "1": {"seeds", "floor"}, "2a": {"seeds"}, "2b": {"seeds"},
    "3a": {"granularity"}, "3a1": {"granularity"}, "3b": {"classes"}, "4a": {"temperature"}, "4b": {"temperature"},
    **{f"5{rule}{match}": {"batch_size"} for rule in "abcd" for match in "12"},
    "6a": {"seeds", "floor"}, "6b1": {"seeds", "floor"}, "6b2": {"seeds", "floor"},
    "6c1": {"seeds", "floor"}, "6c2": {"floor"}, "7b": {"classes"},
    "12a": {"seeds", "floor"}, "12b": {"seeds", "floor"}, "12c": {"seeds"}, "12d": {"seeds", "floor"},
    "9": {"seeds", "floor"}, "12e": {"seeds", "floor"}, "13a": {"imbalance"},
    "4c1": {"temperature"}, "4c2": {"temperature"}, "8": {"seeds", "floor"}, "10": {"seeds", "floor"},
    **{f"11{row}": {"seeds"} for row in "abcd"},
}  # fmt: skip


# At the papers' scale; the two of other data sets need these.
PAPERS = {
    "batch_size": {row for row in DECIDED if row.startswith("5")},
    "classes": {"3b", "7b"},
    "granularity": {"3a"},
    "imbalance": {"13a"},
    "temperature": {"4a", "4b", "4c1", "4c2"},
    "seeds": {row for row, sweeps in DECIDED.items() if "seeds" in sweeps} - {"12e"},
    "floor": {row for row, sweeps in DECIDED.items() if "floor" in sweeps} | {f"11{row}" for row in "abcd"},
}


def planned(path):
    """The sweep as it will be once it has begun."""
    name, runs = path.stem, []
    for point in load(path).points:
        about = {"seed": point.config.seed, "config": resolved(point.config)}
        values = {AXES.get(target(axis), target(axis)): each for axis, each in point.values.items()}
        runs.append(SweepRun(point.name, Path(point.name), values, Summary(Path(point.name), about, {})))
    return Sweep(Path(name), tuple(runs))


@pytest.fixture(scope="module")
def sweeps():
    return {name: planned(path) for name, path in SWEEPS.items()}


def test_every_rule_has_a_sweep_and_takes_no_other(sweeps):
    assert set(SWEEPS) == set(RUNS)
    rows = [row for claim in rules() for row in claim.rows if row.kind != "gap bound"]
    fitting = {
        row.id: {name for name, sweep in sweeps.items() if not isinstance(select(row, sweep), Gap)} for row in rows
    }
    assert fitting == DECIDED
    uneven = next(row for claim in rules() for row in claim.rows if row.id == "13b")
    assert not isinstance(select(uneven, sweeps["imbalance"]), Gap)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_edition_of_a_sweep_decides_the_same_rules_from_five_seeds(name):
    sweep = planned(ROOT / f"configs/sweeps/papers/{name}.toml")
    assert {run.seed for run in sweep.runs} == set(range(5))
    rows = [row for claim in rules() for row in claim.rows if row.kind != "gap bound"]
    assert {row.id for row in rows if not isinstance(select(row, sweep), Gap)} == PAPERS[name]


def test_a_rule_for_the_rate_takes_its_runs_and_the_one_that_all_rules_share(sweeps):
    row = next(row for claim in rules() for row in claim.rows if row.id == "5b1")
    part = select(row, sweeps["batch_size"])
    assert not isinstance(part, Gap)
    sizes = [(run.setting("batch_size"), run.setting("optimiser.scaling")) for run in part.of_seed(0)]
    assert [size for size, _ in sizes] == [32, 64, 128] and {sizes[0][1], sizes[2][1]} == {"sqrt"}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_has_five_seeds_and_panels_from_step_100_on(name):
    sweep = load(SWEEPS[name])
    assert (sweep.name, len(sweep.points), sweep.jobs) == (f"claims_{name}", RUNS[name], 2)
    seeds = range(5, 10) if name == "floor" else range(5)  # floor's first five were there before some of the rules
    assert {point.config.seed for point in sweep.points} == set(seeds)
    for config in (point.config for point in sweep.points):
        late = [step for step in config.record.panel.upto(config.train.steps) if step >= FROM_STEP]
        assert late[-1] == config.train.steps and config.train.threads == 1
        assert len(late) > 1 or config.batches.size == 128


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_opens_with_command_minutes_and_what_the_paper_claims(name):
    head = re.match(r"(#.*\n)+", SWEEPS[name].read_text())
    assert head is not None
    text = " ".join(head.group().replace("#", " ").split())
    assert f"coupled-run sweep configs/claims/{name}.toml" in text and f"runs/claims_{name}" in text
    assert re.search(r"Takes about \d+ minutes on two quiet cores", text) and "paper" in text


@pytest.mark.parametrize("rule", ["linear", "sqrt", "fourth-root", "constant"])
def test_every_batch_size_gets_to_the_common_sum_of_rates_after_step_100(rule):
    sums = []
    for point in load(SWEEPS["batch_size"]).points:
        if point.config.seed == 0 and rule in point.values["lr_rule"]:
            size, steps = point.config.batches.size, point.config.train.steps
            rates = [learning_rate(point.config.optimiser, step, size) for step in range(steps)]
            sums.append(np.cumsum([0.0, *rates]))
    common = min(each[-1] for each in sums)
    assert len(sums) == 3
    assert min(float(np.interp(common, each, np.arange(len(each)))) for each in sums) > FROM_STEP


def test_the_page_says_which_claims_each_sweep_decides():
    page = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    for name in SWEEPS:
        (row,) = re.findall(rf"^\| `{name}`[^|]*\| ([\d ]+) \|", page, re.MULTILINE)
        claims = {int(re.match(r"\d+", each).group()) for each, sweeps in DECIDED.items() if name in sweeps}
        assert {int(number) for number in row.split()} - {7} == claims - {7}
