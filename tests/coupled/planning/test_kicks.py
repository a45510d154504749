"""What a plan says of kicks."""

from helpers import tiny

from coupled.cli import main
from coupled.planning.plan import plan

BASE = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, "same": {"kind": "twin"}}
KICKED = {"kicked": {"kind": "kicked", "match": "nscl"}, "twin": {"kind": "twin", "of": "kicked"}}


def test_every_loss_is_one_backward_and_every_arm_that_is_kicked_a_number_a_weight(tmp_path):
    without, kicked = plan(tiny(tmp_path, arms=BASE)), plan(tiny(tmp_path, arms=BASE | KICKED))
    assert (without.kicks.backwards, without.kicks.normals, without.kicks.memory) == (0, 0, 0)
    assert (kicked.kicks.backwards, kicked.kicks.normals) == (1, 2 * kicked.parameters)
    assert kicked.memory == 5 * kicked.arm_memory + kicked.step_memory + kicked.kicks.memory
    same = plan(tiny(tmp_path, arms=BASE | {"kicked": {"kind": "kicked", "match": "same"}}))
    assert (same.kicks.backwards, same.kicks.normals) == (0, same.parameters)


def test_plan_prints_kicks_where_there_are_some(tmp_path, capsys):
    path = tmp_path / "kicked.toml"
    path.write_text('[data]\nname = "shapes"\n[arms.cl]\nobjective = "dcl"\n[arms.nscl]\nobjective = "nscl"\n')
    assert main(["plan", str(path)]) == 0 and "kicks   " not in capsys.readouterr().out
    path.write_text(path.read_text() + '[arms.kicked]\nkind = "kicked"\nmatch = "nscl"\n')
    assert main(["plan", str(path)]) == 0
    assert "kicks           1 backward more and " in capsys.readouterr().out
