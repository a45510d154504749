import dataclasses
import json
import re
import tomllib
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import get_type_hints

import pytest
from helpers import tables

from coupled.cli import main
from coupled.config import Schedule, digest, from_resolved, from_tables, load, resolved
from coupled.config.fields import CLASSES, option
from coupled.config.identity import classified
from coupled.config.schema import Arm, Record, Written
from coupled.config.toml import to_toml
from coupled.data import DATASETS
from coupled.errors import UserError
from coupled.planning.plan import plan
from coupled.store import canonical_json
from coupled.theory.learning_rate import peak

ROOT = Path(__file__).parents[3]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))
assert CONFIGS
# The papers' recipes need a GPU and data sets that are not ours to ship.
PAPERS = [path for path in CONFIGS if load(path).train.device == "cuda"]
OURS = [path for path in CONFIGS if path not in PAPERS]
BENCHES = sorted((ROOT / "configs/bench").glob("*.toml"))


def leaves(cls):
    """Every field of the config that holds a value, with the class that has it."""
    for field in dataclasses.fields(cls):
        kind = get_type_hints(cls)[field.name]
        if dataclasses.is_dataclass(kind) and kind is not Schedule:
            yield from leaves(kind)
        elif field.name != "arms":
            yield cls, field


def check_fields(cls):
    for owner, field in leaves(cls):
        assert field.metadata.get("kind") in CLASSES, (owner, field.name)
        assert field.metadata.get("meaning"), (owner, field.name)


def test_every_field_is_identity_recorded_or_elastic_and_says_what_it_means():
    for cls in (Written, Arm, Schedule):
        check_fields(cls)


def test_a_field_without_a_class_would_fail_that_test():
    @dataclasses.dataclass(frozen=True)
    class Bad:
        x: int = 0

    with pytest.raises(AssertionError):
        check_fields(Bad)


def test_golden_digest():
    """What a run is: a change here means that configs of earlier versions are other runs now. Say so in the message."""
    assert digest(from_tables(tables()), 2) == "3a0fca643b645499791c747f6ae79ea9fedacd3d2ee8fd48dc40f4164a02e1a6"
    assert digest(from_tables(tables())) == "cf867caa538ba2d4a35cea830f61ae68bd626110ce214ccba26dc06535ad08ce"


def test_elastic_fields_are_outside_the_digest_and_all_others_inside():
    base = digest(from_tables(tables()))
    assert digest(from_tables(tables(name="other", paths={"runs": "/x", "data": "/y"}))) == base
    for changed in (
        {"seed": 1},
        {"train": {"steps": 7}},
        {"train": {"threads": 2}},
        {"record": {"panel": {"every": 2}}},
        {"arms": {"cl": {"objective": "dcl"}}},
        {"panel": {"size": 8}},
    ):
        assert digest(from_tables(tables(**changed))) != base, changed


def test_spelling_out_a_default_changes_nothing():
    explicit = tables(train={"temperature": 0.5, "precision": "float32"}, optimiser={"horizon": 6})
    assert digest(from_tables(explicit)) == digest(from_tables(tables()))


MANY_ARMS = ("controls", "controls_long", "placebos")


@pytest.mark.parametrize("path", [*CONFIGS, *BENCHES], ids=lambda p: p.stem)
def test_shipped_configs_load_and_their_resolved_toml_is_the_same_run(path):
    config = load(path)
    assert config.name == path.stem
    # Two cores are used by two threads, or by arms on two ranks of one thread each.
    assert config.train.device == "cuda" or config.train.threads == (1 if path.stem in MANY_ARMS else 2)
    assert digest(from_tables({"name": "again", **tomllib.loads(to_toml(config))})) == digest(config)
    assert from_tables(tomllib.loads(to_toml(config, elastic=True))) == config


def head_of(path):
    """The comment that a config opens with, as one line."""
    head = re.match(r"(#.*\n)+", path.read_text())
    assert head is not None
    text = " ".join(head.group().replace("#", " ").split())
    assert f"coupled-run train configs/{path.name}" in text
    return text


@pytest.mark.parametrize("path", PAPERS, ids=lambda p: p.stem)
def test_the_papers_recipes_open_with_what_they_need_and_the_published_values(path):
    text = head_of(path)
    assert "Needs" in text
    assert "we have not run it" in text
    assert re.search(r"Published, at .* \.\d+|No published value", text)


def test_the_six_recipes_of_the_papers_ship():
    sets = ("cifar10", "cifar100", "tiny_imagenet", "mini_imagenet", "imagenet")
    assert {path.stem for path in PAPERS} == {f"{name}_resnet50" for name in sets} | {"cifar100_vit"}


@pytest.mark.parametrize("path", PAPERS, ids=lambda p: p.stem)
def test_the_papers_recipes_follow_the_papers(path):
    config = load(path)
    epochs = 300 if path.stem == "imagenet_resnet50" else 1200
    epoch = DATASETS[config.data.name].train_size // 1024
    assert (config.batches.size, config.batches.stream, config.views.recipe) == (1024, "balanced", "paper-v2")
    assert (config.train.steps, config.optimiser.warmup) == (epochs * epoch, 10 * epoch)
    assert config.train.temperature == (0.5 if "cifar10_" in path.stem else 0.1)
    assert config.model.projection_dim == (64 if "cifar10_" in path.stem else 128)
    assert config.train.views_forward == "separate"
    if path.stem != "cifar100_vit":
        assert (config.optimiser.name, config.optimiser.trust, config.optimiser.weight_decay) == ("lars", 1e-3, 1e-6)
        assert peak(config.optimiser, 1024) == 0.3 * 4


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.stem)
def test_shipped_configs_open_with_command_duration_and_expected_numbers(path):
    text = head_of(path)
    assert re.search(r"Takes \d+ minutes on two quiet cores", text)
    assert re.search(r"Expect.* \.\d+", text)
    assert "..." not in text


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_panels_of_shipped_configs_have_the_headline_steps(path):
    config = load(path)
    wanted = {step for step in (10, 30, 100, 300) if step <= config.train.steps}
    assert wanted <= set(config.record.panel.upto(config.train.steps))


@pytest.mark.parametrize("path", BENCHES, ids=lambda p: p.stem)
def test_configs_of_the_bench_differ_in_size_alone_and_can_be_planned(path):
    config, small = load(path), load(ROOT / "configs/bench/small.toml")
    assert (config.record, config.panel, config.checkpoints, config.arms) == (
        small.record,
        small.panel,
        small.checkpoints,
        small.arms,
    )
    assert (config.data, config.views, config.train.steps) == (small.data, small.views, small.train.steps)
    assert f"coupled-run bench configs/bench/{path.name}" in path.read_text()
    memory = plan(config).memory / 1e9
    assert config.train.device == "cpu" or f"{memory:.0f} GB" in path.read_text()


def test_the_bench_has_the_five_sizes():
    sizes = {"small", "resnet18_b64", "resnet18_b256", "resnet50_b64", "resnet50_b1024"}
    assert {path.stem for path in BENCHES} == sizes


def write(tmp_path, text):
    path = tmp_path / "demo.toml"
    path.write_text(text)
    return path


MINIMAL = '[arms.cl]\nobjective = "dcl"\n[arms.nscl]\nobjective = "nscl"\n'


def test_overrides_are_toml_values_and_bare_words_are_strings(tmp_path):
    path = write(tmp_path, MINIMAL)
    config = load(
        path, ["arms.nscl.temperature=0.2", "batches.stream=balanced", "data.labelling=shape*size", "train.steps = 5"]
    )
    assert config.arms["nscl"].temperature == 0.2
    assert config.batches.stream == "balanced"
    assert config.arms["cl"].labelling == "shape*size"
    assert config.train.steps == 5


def test_an_override_that_changes_the_run_changes_its_directory(tmp_path):
    path = write(tmp_path, MINIMAL)
    changed = load(path, ["seed=3"])
    assert changed.name == f"demo-{digest(changed)[:8]}"
    assert load(path, ["seed=0"]).name == load(path, ["paths.runs=/elsewhere"]).name == "demo"
    assert load(path, ["seed=3", "name=mine"]).name == "mine"
    path.write_text('name = "given"\n' + MINIMAL)
    assert load(path).name == "given"
    assert load(path, ["seed=3"]).name == f"given-{digest(changed)[:8]}"


def test_controls_take_objective_labelling_and_temperature_from_the_arm_they_copy():
    config = from_tables(
        tables(
            arms={
                "a": {"objective": "dcl", "temperature": 0.1},
                "b": {"objective": "nscl", "labelling": "shape"},
                "t": {"kind": "twin", "of": "b"},
                "n": {"kind": "nudged", "reference": "b"},
            }
        )
    )
    t, n = config.arms["t"], config.arms["n"]
    assert (t.objective, t.labelling, t.reference) == ("nscl", "shape", "b")
    assert (n.objective, n.temperature, n.of, n.reference, n.scale, n.draw) == ("dcl", 0.1, "a", "b", "ulp", 1)
    assert config.arms["a"].reference is None
    assert config.arms["b"].reference == "a"


def test_a_layout_whose_kernels_corrupt_memory_is_refused():
    with pytest.raises(UserError, match="at least 8 on a CPU"):
        from_tables(tables(model={"width": 7}, train={"memory_format": "channels_last"}))


def test_run_json_holds_no_elastic_field():
    held = resolved(from_tables(tables(paths={"runs": "/secret"})))
    assert "name" not in held
    assert "paths" not in held
    assert [arm["name"] for arm in held["arms"]] == ["cl", "nscl", "twin", "nudged", "independent"]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(), []),
        (Schedule(every=4), [0, 4, 8, 12]),
        (Schedule(log=2), [0, 1, 3, 10]),
        (Schedule(log=3), [0, 1, 2, 5, 10]),
        (Schedule(log=1, last=True), [0, 1, 10, 12]),
        (Schedule(every=5, steps=(2, 99)), [0, 2, 5, 10]),
    ],
)
def test_schedules_are_the_union_of_their_parts(schedule, expected):
    assert schedule.upto(12) == expected


def test_a_resolved_config_is_read_back_from_run_json():
    config = from_tables(tables(arms={"cl": {"objective": "dcl"}, "n": {"kind": "nudged", "scale": 0.5}}))
    assert digest(from_resolved(json.loads(canonical_json(resolved(config))))) == digest(config)


def test_overrides_can_complete_a_config_that_is_none_without_them(tmp_path):
    path = write(tmp_path, MINIMAL + "[batches]\nsize = 30000\n")
    with pytest.raises(UserError, match="at most 20000"):
        load(path)
    config = load(path, ["batches.size=64"])
    assert config.name == f"demo-{digest(config)[:8]}"


def test_a_negative_zero_is_zero():
    plain, negative = (from_tables(tables(optimiser={"weight_decay": zero})) for zero in (0.0, -0.0))
    assert digest(plain) == digest(negative)


def test_an_old_anchor_is_taken_as_the_reference_with_one_warning(tmp_path):
    new, old = tables(), tables()
    new["arms"] |= {"b": {"objective": "nscl", "reference": "nscl"}, "c": {"objective": "scl", "reference": "nscl"}}
    old["arms"] |= {"b": {"objective": "nscl", "anchor": "nscl"}, "c": {"objective": "scl", "anchor": "nscl"}}
    with pytest.warns(FutureWarning) as warned:
        assert digest(from_tables(old)) == digest(from_tables(new))
    (warning,) = warned
    assert str(warning.message) == "arms.b.anchor, arms.c.anchor: this field is now called reference"
    assert old["arms"]["b"] == {"objective": "nscl", "anchor": "nscl"}  # what was given is not written into


def test_both_names_at_once_are_an_error():
    raw = tables()
    raw["arms"]["nscl"] |= {"anchor": "cl", "reference": "cl"}
    with pytest.raises(
        UserError, match=r"arms\.nscl has anchor and reference; they are one field, now called reference"
    ):
        from_tables(raw)


def test_the_command_line_says_an_old_name_once_in_one_line(tmp_path, capsys):
    path = tmp_path / "old.toml"
    path.write_text('[arms.a]\nobjective = "dcl"\n[arms.b]\nobjective = "nscl"\nanchor = "a"\n')
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["plan", str(path), "--toml", "--set", "train.steps=3", "--set", "arms.b.anchor=a"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "coupled-run: warning: arms.b.anchor: this field is now called reference\n"
    assert 'reference = "a"' in shown.out


def test_a_field_that_came_later_is_not_in_the_digest_while_it_has_its_default():
    @dataclasses.dataclass(frozen=True)
    class Section:
        old: int = option(1, "was there")
        new: int = option(2, "came later", later=True)
        when: Schedule = option(Schedule(every=3), "came later", kind="recorded", later=True)

    assert classified(Section(), ("identity", "recorded")) == {"old": 1}
    assert classified(Section(new=3), ("identity", "recorded")) == {"old": 1, "new": 3}
    never = classified(Section(when=Schedule()), ("identity", "recorded"))
    assert never == {"old": 1, "when": {"every": 0, "log": 0, "steps": [], "last": False}}


def test_an_old_name_is_a_line_of_its_own_also_where_warnings_are_errors(tmp_path, capsys, monkeypatch):
    path = tmp_path / "old.toml"
    path.write_text('[arms.a]\nobjective = "dcl"\n[arms.b]\nobjective = "nscl"\nanchor = "a"\n')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["plan", str(path)]) == 2
        assert capsys.readouterr().err == "coupled-run: arms.b.anchor: this field is now called reference\n"
        # The process that starts the ranks says it; they do not say it again.
        warnings.simplefilter("always")
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
        assert main(["plan", str(path)]) == 0 and not capsys.readouterr().err


def test_an_override_may_use_either_name_whatever_the_file_has(tmp_path):
    path = tmp_path / "old.toml"
    arms = '[arms.a]\nobjective = "dcl"\n[arms.b]\nobjective = "nscl"\n[arms.c]\nobjective = "scl"\n'
    for written in ("anchor", "reference"):
        path.write_text(f'{arms}{written} = "a"\n')
        for given in ("anchor", "reference"):
            old = "anchor" in (written, given)
            with pytest.warns(FutureWarning) if old else nullcontext():
                assert load(path, [f"arms.c.{given}=b"]).arms["c"].reference == "b"


def test_a_stream_that_comes_later_is_never_recorded_by_default():
    """Else every run that does not have it would be another run, and could not be read."""
    format_3 = {"scalars", "layers", "motion", "similarity", "panel", "surrogate", "pixels"}
    for field in dataclasses.fields(Record):
        if field.name not in format_3:
            assert field.metadata["later"] and field.default_factory() == ({} if field.name == "own" else Schedule())
