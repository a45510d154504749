"""What a config may say, as text and as a JSON schema: an independent validator agrees with the project's own."""

import copy
import json
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import analysis
import coupled
from analysis.cli import main as analyse
from coupled.cli import main
from coupled.config.build import build
from coupled.config.schema import Written
from coupled.errors import UserError

ROOT = Path(__file__).parents[3]
CONFIGS = sorted(ROOT.glob("configs/*.toml")) + sorted(ROOT.glob("configs/bench/*.toml"))


def printed(capsys, *words):
    assert main(list(words)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_every_field_has_a_column_of_its_own(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = printed(capsys, "fields").splitlines()
    keys = [line.split(" ")[2] for line in lines if line.startswith("  ") and line[2] != " "]
    assert len(keys) > 70 and {"seed", "model.width", "arms.<name>.positive_in_denominator", "last"} <= set(keys)
    meanings = [line[29:] for line in lines if line.startswith(" " * 29)]
    assert meanings and all(line[:1] not in ("", " ") and not line.endswith((" ≤", "<")) for line in meanings)
    assert max(map(len, lines)) <= max(columns, 80)


@pytest.mark.parametrize("program", [main, analyse])
def test_both_programs_say_their_version(program, capsys):
    assert program(["--version"]) == 0
    assert capsys.readouterr().out.split() == ["coupled-run" if program is main else "coupled-analyze", "0.1.0"]


def test_packages_show_their_public_names_alone():
    assert dir(coupled) == sorted([*coupled.__all__, "__version__"])
    assert dir(analysis) == sorted(analysis.__all__)


def test_a_section_a_field_and_the_start_of_one(capsys):
    whole = printed(capsys, "fields")
    of_train = printed(capsys, "fields", "train")
    assert of_train in whole and "train.steps" in of_train and "optimiser" not in of_train
    assert printed(capsys, "fields", "data.classes").split()[0] == "data.classes"
    assert printed(capsys, "fields", "arms.nscl.temperature").split()[0] == "arms.<name>.temperature"
    starts = [line.split()[0] for line in printed(capsys, "fields", "train.t").splitlines() if line[2] != " "]
    assert starts == ["train.temperature", "train.threads", "train.tf32"]
    assert "every k-th step" in printed(capsys, "fields", "schedule")


@pytest.mark.parametrize(("given", "said"), [("trian", "did you mean train?"), ("train.stps", "did you mean steps?")])
def test_an_unknown_one_is_one_line(given, said, capsys):
    assert main(["fields", given]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error


@pytest.fixture(scope="module")
def schema():
    from coupled.commands.reference import REGISTRIES
    from coupled.config.json_schema import json_schema

    schema = json_schema(REGISTRIES)
    Draft202012Validator.check_schema(schema)
    return schema


def test_the_command_prints_it(schema, capsys):
    assert json.loads(printed(capsys, "schema")) == json.loads(json.dumps(schema))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_fit_it(path, schema):
    Draft202012Validator(schema).validate(tomllib.loads(path.read_text()))


QUICKSTART = tomllib.loads((ROOT / "configs/quickstart.toml").read_text())
# What one field or one table alone makes wrong or right; what fields mean together is `plan`'s to say.
CHANGES = [
    ("train.steps", 10, True), ("train.steps", -1, False), ("train.steps", 1.5, False), ("train.steps", "10", False),
    ("train.steps", True, False), ("train.stps", 10, False), ("train.precision", "bf16", True),
    ("train.precision", "bf17", False), ("train.temperature", 1, True), ("train.temperature", 0, False),
    ("optimiser.momentum", 1.0, False), ("optimiser.momentum", 0.99, True), ("optimiser.learning_rate", 0, False),
    ("data.classes", [0, 1], True), ("data.classes", [-1], False), ("data.classes", 3, False),
    ("data.name", "mine", True), ("data.name", 3, False), ("arms.nudged.scale", "ulp", True),
    ("arms.nudged.scale", 2.0, False), ("arms.nudged.scale", 0, False), ("arms.nudged.scale", [], False),
    ("arms.nudged.kind", "nudge", False), ("arms.other", {"objective": "scl"}, True), ("arms.other", 3, False),
    ("record.panel", {"log": 4, "last": True}, True), ("record.panel", {"logs": 4}, False), ("record.panel", 4, False),
    ("record.panel", {"log": 101}, False), ("seed", 2**64 - 1, True), ("seed", 2**64, False), ("extra", 1, False),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "fits"), CHANGES)
def test_it_takes_what_the_project_takes(field, value, fits, schema):
    tables = copy.deepcopy(QUICKSTART)
    *path, last = field.split(".")
    table = tables
    for key in path:
        table = table.setdefault(key, {})
    table[last] = value
    assert Draft202012Validator(schema).is_valid(tables) == fits
    try:
        build(Written, tables)
    except UserError:
        assert not fits
    else:
        assert fits
