"""From which step the a-priori bounds of a config say nothing, before it is trained."""

import pytest
import torch
from helpers import Operations, tiny

from coupled.cli import main
from coupled.data import info
from coupled.planning.class_shares import class_shares
from coupled.planning.vacuity import pair_of, pairs_of, vacuities
from coupled.theory import bounds
from coupled.theory.learning_rate import learning_rate, learning_rates
from coupled.theory.surrogate import denominators

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("warmup", [0, 5])
def test_all_rates_at_once_are_the_rates_of_the_steps(tmp_path, schedule, warmup):
    config = tiny(tmp_path, train={"steps": 40}, optimiser={"schedule": schedule, "warmup": warmup})
    expected = [learning_rate(config.optimiser, step, 8) for step in range(40)]
    assert learning_rates(config.optimiser, 40, 8).tolist() == pytest.approx(expected, rel=1e-13, abs=1e-16)


def test_a_pair_is_cls_loss_against_nscls_whichever_is_the_reference(tmp_path):
    arms = {
        "ns": {"objective": "nscl"},
        "cl": {"objective": "dcl"},
        "nt": {"objective": "nt_xent"},
        "warm": {"objective": "dcl", "temperature": 2.0},
        "other": {"kind": "independent", "of": "cl", "reference": "ns"},
        "scl": {"objective": "scl"},
    }
    config = tiny(tmp_path, arms=arms)
    assert [(pair.cl, pair.ns, pair.cl_positive) for pair in pairs_of(config)] == [
        ("cl", "ns", False),
        ("nt", "ns", True),
    ]
    said = {arm: str(pair_of(config, arm)) for arm in ("ns", "warm", "other", "scl")}
    assert "no reference" in said["ns"] and "temperatures" in said["warm"]
    assert "does not start" in said["other"] and "not scl against nscl" in said["scl"]


def test_denominators_that_are_not_nested_are_no_pair(tmp_path):
    arms = {"cl": {"objective": "dcl"}, "ns": {"objective": "nscl", "positive_in_denominator": True}}
    assert "neither is a part" in str(pair_of(tiny(tmp_path, arms=arms), "ns"))


def test_shares_are_registry_constants_or_counted_labels(tmp_path):
    shapes = class_shares(tiny(tmp_path), "size")
    assert shapes.known_from == "its labels" and shapes.size == 20_000 and 0.49 < shapes.largest < 0.52
    svhn = class_shares(tiny(tmp_path, data={"name": "svhn", "labelling": "class"}, views={"size": 32}), "class")
    assert svhn.known_from == "registry constants" and svhn.counts == info("svhn").train_counts["class"]


def test_rows_of_expected_counts_are_those_of_a_panel_that_has_them(tmp_path):
    config = tiny(tmp_path, data={"name": "cifar10", "labelling": "class"}, panel={"surrogate_size": 20},
                  views={"size": 32}, train={"steps": 3000}, optimiser={"learning_rate": 30.0})  # fmt: skip
    (found,) = vacuities(config)
    sets = denominators(torch.arange(20) % 10)
    rates = learning_rates(config.optimiser, 3000, 8)
    exact = bounds.rows(rates, bounds.mass_bound(*sets.counts(), 0.5), 0.5, 40)
    assert found.steps["rows"] == bounds.vacuity_step(exact, 80.0) is not None
    assert found.steps["paper"] <= found.steps["free"] <= found.steps["rows"]


def test_a_million_steps_are_some_hundred_operations(tmp_path):
    """On whole curves: nothing is done step by step."""
    with Operations() as seen:
        vacuities(tiny(tmp_path, train={"steps": 1_000_000}))
    assert 0 < len(seen.names) < 1000


def test_plan_says_from_which_step_on_the_bounds_are_vacuous(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arms = '[arms.cl]\nobjective = "dcl"\n[arms.nscl]\nobjective = "nscl"\n'
    (tmp_path / "hot.toml").write_text('[data]\nlabelling = "size"\n[train]\nsteps = 50\ntemperature = 0.05\n' + arms)
    assert main(["plan", "hot.toml"]) == 0
    lines = capsys.readouterr().out.splitlines()[:-1]
    assert lines[-3].startswith("bounds vacuous  nscl against cl: paper from step 1, free never, rows never")
    assert lines[-1].endswith("(its labels)") and "limit 512; δ = 0.05" in lines[-2]
