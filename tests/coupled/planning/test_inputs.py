"""What `coupled-run plan` says of arms with inputs of their own."""

from helpers import tiny
from other_inputs import OTHERS, SHARING

from coupled.cli import main
from coupled.planning.plan import plan

TOML = """
data = {name = "shapes", labelling = "size"}
batches.size = 8
train.steps = 4
arms.cl.objective = "dcl"
"""
OTHER = 'arms.o.kind = "other-inputs"\narms.t = {kind = "twin", of = "o"}\n'


def test_every_kind_of_input_costs_its_views(tmp_path, capsys):
    config = tmp_path / "c.toml"
    config.write_text(TOML + OTHER)
    assert main(["plan", str(config)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "inputs          32 views a step, 16 for each of 2 kinds" in lines
    assert "  other batches (draw 1) o, t" in lines
    config.write_text(TOML)
    assert main(["plan", str(config)]) == 0
    assert "inputs" not in capsys.readouterr().out


def test_their_columns_are_counted(tmp_path):
    """Of every step three digests; B ids, visits and labels; and of every view the digest of its pixels."""
    every = {"record": {"pixels": {"every": 1}}, "train": {"steps": 4}}
    kinds = {name: {"kind": "twin"} for name in OTHERS}
    bytes_of = [plan(tiny(tmp_path, arms={**SHARING, **arms}, **every)).streams for arms in (OTHERS, kinds)]
    more = {stream: bytes_of[0][stream] - bytes_of[1][stream] for stream in bytes_of[0]}
    assert {stream: size for stream, size in more.items() if size} == {
        "scalars": 4 * 3 * 3 * 32, "similarity": 4 * 3 * 3 * 8 * 8, "pixels": 4 * 3 * 16 * 16
    }  # fmt: skip
