"""Both papers' checkpoints as runs: features are torchvision's, and the commands say what such a run has and lacks."""

import json

import pytest
import torch
from foreign_files import HIDDEN, feature_dim, projector, randomised, resnet
from torch.nn import functional as F

import analysis
from analysis.cli import main as analyze
from analysis.evaluation.features import Evaluation, Place
from analysis.foreign import Origin, import_checkpoints
from analysis.foreign import config as configs
from analysis.output.facts import facts
from analysis.output.table import title
from coupled.cli import main
from coupled.data import load
from coupled.errors import UserError
from coupled.reading.imported import imported
from coupled.reading.run_json import read_run
from coupled.store import StoreError, open_tensors, tree_hash

from .conftest import CLASSES, EPOCHS, network_of

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # the sheet's, of 32 px
SAMPLES = 6


def pixels(ids, mean=MEAN, std=STD):
    """Images of the data set shapes, normalised by hand."""
    images = load("shapes", "test", seed=0).images(ids).float() / 255
    return (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def features_of(run, arm, step):
    evaluation = Evaluation(analysis.open_run(run), steps=[step], size=SAMPLES)
    place = Place(arm, step, "test")
    return evaluation.sample("test").ids, evaluation.features(place, "h"), evaluation.features(place, "z")


def error(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.kernels
@pytest.mark.parametrize("arm", ["dcl", "nscl", "scl", "ce"])
def test_features_are_those_of_torchvision_with_the_same_weights(arm, imported_run):
    ids, h, z = features_of(imported_run, arm, EPOCHS[1])
    encoder, head = network_of(arm, EPOCHS[1])
    expected = encoder(pixels(ids))
    assert error(h, expected) < 1e-6
    assert error(z, F.normalize(head(expected))) < 1e-6


@pytest.mark.kernels
@pytest.mark.parametrize(
    ("name", "width", "stem", "form"),
    [("resnet50", 8, "cifar", "epoch"), ("resnet34", 4, "imagenet", "snapshot"), ("vit", 12, "", "epoch")],
)
def test_the_first_papers_folders_and_both_forms_of_file(name, width, stem, form, one_arm, small_vit, tmp_path):
    encoder = small_vit if name == "vit" else randomised(resnet(name, width, stem))
    heads = 3 if name == "vit" else None
    arms = [("cl", one_arm(encoder, form))]
    run = import_checkpoints(None, tmp_path / "run", Origin("shapes"), arms=arms, heads=heads)
    ids, h, z = features_of(run, "cl", 2)
    expected = encoder(pixels(ids))
    assert error(h, expected) < 1e-6
    assert error(z, F.normalize(projector(feature_dim(encoder))(expected))) < 1e-6
    assert read_run(run)[1].model.encoder == name


def test_a_normalisation_that_is_given_is_the_one_that_is_used(one_arm, tmp_path):
    encoder = randomised(resnet("resnet18", 4))
    given = Origin("shapes", mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    run = import_checkpoints(None, tmp_path / "run", given, arms=[("cl", one_arm(encoder))])
    ids, h, _ = features_of(run, "cl", 2)
    assert error(h, encoder(pixels(ids, given.mean, given.std))) < 1e-5
    assert error(h, encoder(pixels(ids))) > 1e-2


def test_whole_numbers_normalise_too(one_arm, tmp_path):
    plain = Origin("shapes", mean=(0, 0, 0), std=[1, 1, 1])
    run = import_checkpoints(None, tmp_path / "run", plain, arms=[("cl", one_arm(randomised(resnet("resnet18", 4))))])
    content = imported(read_run(run)[0])
    assert (content.mean, content.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ("0 0 0", "0 0 0"),
        ("nan 0 0", "1 1 1"),
        ("0 0 0", "1 1 inf"),
        ("123 116 103", "58 57 57"),
        ("0 0 -0.1", "1 1 1"),
    ],
)
def test_a_normalisation_that_no_run_may_have_is_one_line_and_leaves_nothing(mean, std, second_paper, tmp_path, capsys):
    words = ["import", str(second_paper), "--data-set", "shapes", "--output", str(tmp_path / "run")]
    assert analyze([*words, "--mean", *mean.split(), "--std", *std.split()]) == 2
    (line,) = lines_of(capsys)
    assert "mean from 0 to 1, std above 0 and at most 1" in line and not list(tmp_path.iterdir())


@pytest.mark.parametrize("mean", [(0.5, 0.5), (0.5, 0.5, True), (0.5, 0.5, "0.5")])
def test_from_python_too(mean):
    with pytest.raises(UserError, match="three numbers each"):
        Origin("shapes", mean=mean, std=(0.5, 0.5, 0.5))


def test_what_no_reader_would_take_is_not_written(second_paper, tmp_path, monkeypatch):
    monkeypatch.setattr(configs, "resized_side", lambda size: size + 4)
    with pytest.raises(StoreError, match="images of 32 px are resized to 32"):
        import_checkpoints(second_paper, tmp_path / "run", Origin("shapes", labelling="size"))
    assert not list(tmp_path.iterdir())


OWN = """
import torch
from coupled import data

info = data.DataInfo("own", 40, 8, 32, (0.5,) * 3, (0.3,) * 3, {"half": 2}, "half")
images = torch.arange(40 * 3 * 32 * 32).to(torch.uint8).view(40, 3, 32, 32)


def load(split, root):
    size = info.size_of(split)
    return data.ArraySplit(images[:size], {"half": torch.arange(size) % 2})


data.register_data_set(info, load)
"""


def test_a_data_set_of_the_users_own(one_arm, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    code = [str(tmp_path / "own.py")]
    arms = [("cl", one_arm(randomised(resnet("resnet18", 4))))]
    run = import_checkpoints(None, tmp_path / "run", Origin("own", code=code, batch=16), arms=arms)
    assert read_run(run)[1].train.steps == 2 * (40 // 16)
    evaluation = Evaluation(analysis.open_run(run), code=code)
    assert evaluation.features(Place("cl", 4, "train"), "h").shape == (40, 32)


def test_run_json_says_what_the_files_say_and_what_is_not_known(imported_run, second_paper):
    told, config, manifest = read_run(imported_run)
    content = imported(told)
    assert manifest.finished and config.train.steps == EPOCHS[1]
    assert (content.unit, content.batch, content.mean, content.std) == ("epochs", None, MEAN, STD)
    assert (content.resize, content.crop) == (32, 32)
    assert not content.knows("optimiser.learning_rate") and not content.knows("batches.size")
    assert content.knows("model.width") and content.epoch_of(3) == 3
    assert [(s.step, s.arm) for s in content.sources] == [(e, a) for e in EPOCHS for a in ("dcl", "nscl", "scl", "ce")]
    assert str(second_paper) not in (imported_run / "run.json").read_text()
    assert {name: (arm.objective, arm.positive_in_denominator) for name, arm in config.arms.items()} == {
        "dcl": ("nt_xent", None), "nscl": ("nscl", True), "scl": ("scl", None), "ce": ("ce", None),
    }  # fmt: skip


def test_with_a_batch_size_steps_are_updates(second_paper, tmp_path):
    given = Origin("shapes", labelling="size", batch=300)
    run = import_checkpoints(second_paper, tmp_path / "run", given, epochs=[3])
    told, config, _ = read_run(run)
    assert config.train.steps == 3 * (20_000 // 300) and config.batches.size == 300
    assert imported(told).unit == "steps" and imported(told).knows("batches.size")


def test_a_checkpoint_holds_weights_and_statistics_alone(imported_run):
    file = open_tensors(imported_run / "checkpoints/step-000000003/ce.safetensors")
    kinds = {name.partition(".")[0] for name in file}
    assert kinds == {"weights", "buffers"} and not [name for name in file if "num_batches" in name]
    assert file["weights.head.weight"].shape == (CLASSES, 6)
    assert file["weights.projector.linear1.weight"].shape[0] == HIDDEN


def test_the_same_files_give_the_same_run(imported_run, second_paper, tmp_path):
    again = import_checkpoints(second_paper, tmp_path / "again", Origin("shapes", labelling="size"))
    assert tree_hash(again) == tree_hash(imported_run)


def test_verify_proves_the_bytes_and_says_what_nobody_can(imported_run, capsys):
    assert main(["verify", str(imported_run)]) == 0
    out = capsys.readouterr().out
    assert "2 checkpoints (epochs 0, 3) hold the weights and running statistics of 4 arms" in out
    assert "proven      one start: at epoch 0 all 4 arms are the same" in out
    assert "not proven  one input: that the arms saw the same batches and views can never be shown" in out
    assert out.splitlines()[-1].startswith(f"verified: {imported_run} holds the checkpoints that were imported, whole")
    assert main(["verify", str(imported_run), "--replay", "2"]) == 2
    assert "--replay needs records" in capsys.readouterr().err


def lines_of(capsys):
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("curves", ("scalars, panel, similarity are needed", "coupled-analyze alignment")),
        ("bounds", ("scalars, similarity, surrogate, panel are needed", "coupled-analyze losses")),
        ("report", ("scalars, panel, similarity are needed", "coupled-analyze alignment")),
        ("divergence", ("scalars, layers are needed", "coupled-analyze alignment")),
    ],
)
def test_a_command_about_records_says_in_a_line_which_are_missing(command, words, imported_run, capsys):
    before = tree_hash(imported_run)
    assert analyze([command, str(imported_run)]) == 2
    (line,) = lines_of(capsys)
    assert "holds imported checkpoints" in line and all(word in line for word in words)
    assert tree_hash(imported_run) == before


@pytest.mark.parametrize("options", [[], ["--extend", "9"], ["--from", "0"]])
def test_resume_says_what_is_missing(options, imported_run, capsys):
    assert main(["resume", str(imported_run), *options]) == 2
    (line,) = lines_of(capsys)
    assert "no optimiser state to train on with, and no records (scalars, layers, motion" in line


def test_nothing_is_trained_onto_it_though_the_config_were_its_own(imported_run, tmp_path, capsys):
    from coupled.config.load import from_resolved
    from coupled.config.toml import to_toml

    config = from_resolved(json.loads((imported_run / "run.json").read_bytes())["config"])
    (tmp_path / "own.toml").write_text(to_toml(config))
    place = [f"name={imported_run.name}", f"paths.runs={imported_run.parent}"]
    sets = [word for override in place for word in ("--set", override)]
    assert main(["train", str(tmp_path / "own.toml"), *sets, "--ranks", "1"]) == 2
    assert "holds imported checkpoints" in lines_of(capsys)[-1]


def test_a_title_shows_what_is_known_and_nobodys_values_are_not_shown(imported_run, second_paper, tmp_path):
    assert title(analysis.open_run(imported_run)) == "second: shapes, imported checkpoints, steps are epochs"
    origin = Origin("shapes", labelling="size", batch=300)
    run = import_checkpoints(second_paper, tmp_path / "run", origin, epochs=[3])
    assert facts(analysis.open_run(run), temperature=True) == ["B = 300", "imported checkpoints"]


def test_export_gives_an_arm_as_a_plain_state_dict(imported_run, tmp_path):
    from safetensors.torch import load_file

    output = tmp_path / "ce.safetensors"
    assert main(["export", str(imported_run), "--arm", "ce", "--step", "3", "--output", str(output)]) == 0
    state, (encoder, _) = load_file(output), network_of("ce", 3)
    assert torch.equal(state["encoder.layer4.1.conv2.weight"], encoder.layer4[1].conv2.weight)
    assert torch.equal(state["head.bias"], torch.ones(CLASSES))


def test_diff_takes_it(imported_run, capsys):
    assert main(["diff", str(imported_run), str(imported_run)]) == 0
    assert (
        "equal: all that both recorded is the same, byte for byte (A to step 3; B to step 3)" in capsys.readouterr().out
    )


def test_the_command_says_where_the_run_is_and_what_to_do_next(second_paper, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["import", str(second_paper), "--data-set", "shapes", "--labelling", "size", "--epochs", "3"]
    assert analyze(words) == 0
    next_ = "next: coupled-analyze alignment runs/checkpoints"
    assert capsys.readouterr().out == f"done: the checkpoints are in runs/checkpoints; {next_}\n"
    assert analyze(words) == 2
    assert "is there already" in lines_of(capsys)[-1]
