"""Every way to train, on tiny runs: the exact twin stays at 0, bytes repeat, fields that change bits do."""

import numpy as np
import pytest
import torch
from helpers import tables, tiny
from PIL import Image
from safetensors.torch import load_file

import analysis
import coupled
from coupled.arms.initial import build_arms
from coupled.arms.network import meta_network
from coupled.config import digest, fingerprint, from_tables
from coupled.data import ArraySplit, DataInfo
from coupled.driver.assembly import assemble
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.planning.plan import plan
from coupled.recording.layout import STREAMS
from coupled.store import StoreError, open_tensors, tree_hash

CPU = torch.device("cpu")
TWO = {"cl": {"objective": "dcl"}, "twin": {"kind": "twin"}}
SHORT = {"steps": 2, "threads": 1}
TINY_VIT = {"encoder": "vit", "width": 8, "patch": 4, "depth": 2, "heads": 2}
TINY_RESNET = {"encoder": "resnet18", "width": 4}

WAYS = {
    "nt_xent": {"arms": {"cl": {"objective": "nt_xent"}, "twin": {"kind": "twin"}}},
    "nscl with the positive": {
        "arms": {"a": {"objective": "nscl", "positive_in_denominator": True}, "twin": {"kind": "twin"}}
    },
    "homotopy": {"arms": {"a": {"objective": "homotopy", "lam": 0.3}, "twin": {"kind": "twin"}}},
    "scl": {"arms": {"a": {"objective": "scl"}, "twin": {"kind": "twin"}}},
    "ce": {"arms": {"a": {"objective": "ce"}, "twin": {"kind": "twin"}}},
    "placebo": {"arms": {"a": {"objective": "nscl"}, "p": {"kind": "placebo"}, "twin": {"kind": "twin", "of": "p"}}},
    "relabelled": {
        "arms": {
            "a": {"objective": "nscl"},
            "p": {"kind": "placebo", "across": "run"},
            "twin": {"kind": "twin", "of": "p"},
        }
    },
    "anti": {
        "arms": {
            "cl": {"objective": "dcl"},
            "a": {"objective": "nscl"},
            "anti": {"kind": "anti", "of": "a"},
            "twin": {"kind": "twin", "of": "anti"},
        }
    },
    "gelu": {"model": {"activation": "gelu"}},
    "vit with softplus": {"model": {**TINY_VIT, "activation": "softplus"}},
    "lars": {"optimiser": {"name": "lars", "scaling": "linear", "weight_decay": 1e-6}},
    "adamw": {"optimiser": {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05}},
    "clipping": {"optimiser": {"clip_norm": 0.1}},
    "separate": {"train": {**SHORT, "views_forward": "separate"}},
    "channels_last": {"train": {**SHORT, "memory_format": "channels_last"}, "model": {"width": 8}},
    "bf16": {"train": {**SHORT, "precision": "bf16"}},
    "bf16, separate, channels_last": {
        "train": {**SHORT, "precision": "bf16", "views_forward": "separate", "memory_format": "channels_last"},
        "model": {"width": 8},
    },
    "resnet18": {"model": TINY_RESNET},
    "resnet18, ImageNet stem": {"model": {**TINY_RESNET, "stem": "imagenet"}, "views": {"size": 32}},
    "resnet50": {"model": {"encoder": "resnet50", "width": 4}},
    "vit": {"model": TINY_VIT},
    "vit in bf16": {"model": TINY_VIT, "train": {**SHORT, "precision": "bf16"}},
    "vit in float64": {"model": TINY_VIT, "train": {**SHORT, "precision": "float64"}},
    "paper-v2": {"views": {"recipe": "paper-v2", "size": 16}},
    "simclr-imagenet": {"views": {"recipe": "simclr-imagenet", "size": 32}},
    "none": {"views": {"recipe": "none", "size": 16}},
    "long tail": {"data": {"labelling": "shape", "imbalance": 20.0}},
    "three classes": {"data": {"labelling": "shape", "classes": [5, 0, 2]}, "batches": {"stream": "balanced"}},
    "stage features": {"panel": {"size": 16, "surrogate_size": 4, "stages": True}},
}


def config_of(folder, way=None, **sections):
    # A resnet-small has width and projector of `helpers.TINY`; other encoders bring their own.
    return tiny(folder, **{"arms": TWO, "train": SHORT, **WAYS.get(way, {}), **sections})


def distance(path):
    shards = sorted((path / "records/scalars/twin").iterdir())
    return np.concatenate([open_tensors(shard)["state.distance"] for shard in shards])


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_train_repeats_its_bytes_and_leaves_the_twin_at_zero(way, tmp_path):
    first, second = (train(config_of(tmp_path / name, way)) for name in "ab")
    assert tree_hash(first) == tree_hash(second)
    assert distance(first).tobytes() == np.zeros(3).tobytes()
    start, end = (weights(first, step) for step in (0, 2))
    assert any(start[name] != end[name] for name in start)


def weights(path, step):
    (file,) = path.glob(f"checkpoints/step-{step:09d}/twin.safetensors")
    return {name: array.tobytes() for name, array in open_tensors(file).items() if name.startswith("weights.")}


CHANGES_BITS = [
    "nt_xent", "lars", "adamw", "clipping", "separate", "bf16", "none", "long tail"
]  # fmt: skip


@pytest.mark.slow
def test_what_is_an_identity_field_changes_the_weights(tmp_path):
    base = {"views": {"size": 16}}
    plain = weights(train(config_of(tmp_path / "plain", **base)), 2)
    for way in CHANGES_BITS:
        sections = {**WAYS[way], "views": {"size": 16, **WAYS[way].get("views", {})}}
        assert weights(train(config_of(tmp_path / way, **sections)), 2) != plain, way


@pytest.mark.slow
def test_a_compiled_network_trains_like_the_plain_one(tmp_path):
    """Another order of float operations: a tenth of the first step's update is far above rounding, far below a bug."""
    arms = {"cl": {"objective": "dcl"}, "twin": {"kind": "twin"}, "ce": {"objective": "ce"}}
    runs = [
        train(config_of(tmp_path / str(on), arms=arms, train={**SHORT, "precision": "float64", "compile": on}))
        for on in (True, False)
    ]
    assert distance(runs[0]).tobytes() == np.zeros(3).tobytes()
    for arm in arms:
        plain, compiled = (open_tensors(run / f"checkpoints/step-000000002/{arm}.safetensors") for run in runs)
        for name in plain:
            np.testing.assert_allclose(compiled[name], plain[name], rtol=1e-8, atol=1e-10)


def test_in_separate_forwards_batch_norm_sees_one_view_at_a_time(tmp_path):
    run = assemble(config_of(tmp_path, train={**SHORT, "views_forward": "separate"}))
    assert run is not None
    with run:
        arm, batch = run.arms["cl"], run.source.at(0)
        arm.forward_backward(batch)
        halves = [arm.network.train()(part)[1].detach() for part in batch.pixels.chunk(2)]
    assert torch.equal(arm.z, torch.cat(halves))


def test_bf16_keeps_weights_gradients_and_records_in_float32(tmp_path):
    path = train(config_of(tmp_path, "bf16"))
    shards = [*path.glob("records/*/cl/*.safetensors"), *path.glob("checkpoints/*/cl.safetensors")]
    kinds = {str(array.dtype) for shard in shards for array in open_tensors(shard).values()}
    assert kinds == {"float32", "float64", "int64"}


def test_a_head_is_drawn_by_its_own_address_and_all_else_is_shared(tmp_path):
    arms = {"cl": {"objective": "dcl"}, "ce": {"objective": "ce"}, "twin": {"kind": "twin", "of": "ce"}}
    arms["own"] = {"kind": "independent", "of": "ce"}
    built = build_arms(tiny(tmp_path, arms=arms), CPU)
    heads = {name: arm.state.named_weights().get("head.weight") for name, arm in built.items()}
    assert heads["cl"] is None
    assert torch.equal(heads["ce"], heads["twin"])
    assert not torch.equal(heads["ce"], heads["own"])
    shared = built["cl"].state.shared
    assert torch.equal(built["cl"].state.weights, built["ce"].state.weights[:shared])


def test_recording_nothing_leaves_the_same_weights_with_a_head_and_lars(tmp_path):
    arms = {"ce": {"objective": "ce"}, "twin": {"kind": "twin"}, "scl": {"objective": "scl"}}
    off = {stream: {"every": 0} for stream in STREAMS}
    ways = {"optimiser": WAYS["lars"]["optimiser"], "arms": arms}
    on, off = (train(config_of(tmp_path / name, record=r, **ways)) for name, r in (("on", {}), ("off", off)))
    assert weights(on, 2) == weights(off, 2)


@pytest.fixture
def folder(tmp_path):
    """A small image folder: two classes, files of many sizes."""
    generator = np.random.default_rng(3)
    for split, count in (("train", 12), ("test", 8)):
        for index in range(count):
            place = tmp_path / "images" / split / f"class{index % 2}"
            place.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 256, (20 + index, 30 - index, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{index}.{'png' if index % 3 else 'jpg'}")
    return tmp_path / "images"


def of_folder(folder, runs, **data):
    return from_tables(
        tables(
            data={"name": "image-folder", "labelling": "class", **data},
            paths={"data": str(folder), "runs": str(runs)},
            panel={"size": 8, "surrogate_size": 4},
            train={"steps": 3, "threads": 1},
        )
    )


def test_a_run_on_an_image_folder_is_the_same_for_0_1_and_4_workers(folder, tmp_path):
    hashes = {tree_hash(train(of_folder(folder, tmp_path / str(n), workers=n))) for n in (0, 1, 4)}
    assert len(hashes) == 1


def test_another_folder_is_another_run(folder, tmp_path):
    before = of_folder(folder, tmp_path)
    (folder / "train/class0/0.jpg").rename(folder / "train/class0/1.jpg")  # a name of the same length
    assert digest(of_folder(folder, tmp_path)) != digest(before)
    with pytest.raises(UserError, match="restore the files"):
        of_folder(folder, tmp_path, listing=before.data.listing)


def test_layout_tf32_and_compile_are_identity_fields():
    base = tables(train={"device": "cuda"})
    marks = {fingerprint(from_tables(base))}
    for changed in ({"memory_format": "channels_last"}, {"tf32": True}, {"compile": True}, {"threads": 2}):
        given = tables(model={"width": 8}, train={"device": "cuda", **changed})
        marks.add(fingerprint(from_tables(given)))
    assert len(marks) == 5


def test_batches_that_a_long_tail_cannot_balance_are_refused_by_plan():
    data = {"name": "cifar100", "labelling": "fine", "per_class": 10}
    with pytest.raises(UserError, match="every class needs 12 images, the smallest has 10"):
        from_tables(tables(data=data, batches={"size": 512, "stream": "balanced"}))


def test_a_damaged_image_stops_the_run_in_one_line(folder, tmp_path):
    for path in (folder / "train/class0").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises((UserError, coupled.errors.RunStopped), match="class0"):
        train(of_folder(folder, tmp_path / "runs", workers=1))


def test_export_writes_the_weights_of_a_checkpoint_by_the_networks_names(tmp_path):
    arms = {"cl": {"objective": "dcl"}, "ce": {"objective": "ce"}}
    path = train(config_of(tmp_path, arms=arms))
    written = load_file(coupled.export(path, "ce", step=2))
    saved = open_tensors(path / "checkpoints/step-000000002/ce.safetensors")
    assert written["head.bias"].numpy().tobytes() == saved["weights.head.bias"].tobytes()
    built = build_arms(config_of(tmp_path, arms=arms), CPU)["ce"].network
    built.load_state_dict(written)
    assert coupled.export(path, "ce", step=2).stat().st_size > 0  # again: the same file is no mistake


@pytest.mark.parametrize(
    ("options", "message"),
    [({"arm": "cf"}, "did you mean cl"), ({"arm": "cl", "step": 1}, "kept are 0, 2")],
)
def test_export_of_what_is_not_there_is_one_line(options, message, tmp_path):
    path = train(config_of(tmp_path))
    with pytest.raises(UserError, match=message):
        coupled.export(path, **options)


def test_export_refuses_a_checkpoint_that_is_not_the_networks(tmp_path, monkeypatch):
    path = train(config_of(tmp_path))
    other = meta_network(config_of(tmp_path, model={"width": 8}))
    monkeypatch.setattr("coupled.reading.checkpoints.meta_network", lambda config: other)
    with pytest.raises(StoreError, match="not those of the config's network"):
        coupled.export(path, "cl")
    assert not (path / "export").exists()


def test_the_learning_rate_of_a_run_follows_its_batch_size(tmp_path):
    rule = {"learning_rate": 0.5, "scaling": "linear", "schedule": "constant"}
    path = train(config_of(tmp_path, batches={"size": 16}, optimiser=rule))
    rates = open_tensors(next((path / "records/scalars/shared").iterdir()))["batch.learning_rate"]
    assert set(rates.tolist()) == {0.5 * 16 / 256}


def test_export_replaces_no_file_of_another_content(tmp_path):
    path = train(config_of(tmp_path))
    mine = tmp_path / "mine.safetensors"
    mine.write_text("precious")
    with pytest.raises(UserError, match="exists"):
        coupled.export(path, "cl", output=mine)
    assert mine.read_text() == "precious"


def test_export_takes_the_suffix_of_what_it_writes_in_any_case(tmp_path):
    path = train(config_of(tmp_path))
    for output in (tmp_path / "a.safetensors", str(tmp_path / "new" / "b.v2.SafeTensors")):
        assert load_file(coupled.export(path, "cl", output=output)).keys()


@pytest.mark.parametrize("model", [{"encoder": "resnet-small"}, {"encoder": "resnet50", "width": 8}, TINY_VIT])
def test_plan_counts_what_the_forward_keeps_for_the_backward(model, tmp_path):
    config = tiny(tmp_path, model=model, arms=TWO)
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    arm = build_arms(config, CPU)["cl"]
    pixels = torch.zeros(2 * config.batches.size, 3, config.views.size, config.views.size)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        arm.network(pixels)
    weights = arm.state.weights.untyped_storage().data_ptr()
    held = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key != weights)
    pairs = 3 * (2 * config.batches.size) ** 2 * 4
    # Small tensors do not grow along the line through one view and two.
    assert 0.95 * held <= plan(config).step_memory - pairs <= 1.05 * held


def test_data_without_labels_train_with_cl_and_say_so_otherwise(tmp_path):
    images = torch.randint(256, (64, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    info = DataInfo("unlabelled", 64, 64, 16, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3), {}, "")
    coupled.register_data_set(info, lambda split, root: ArraySplit(images, {}))
    sections = {"data": {"name": "unlabelled", "labelling": None}, "paths": {"runs": str(tmp_path)}, "train": SHORT}
    given = tables(**sections, arms={"cl": {"objective": "nt_xent"}, "twin": {"kind": "twin"}})
    del given["data"]["labelling"]
    run = analysis.open_run(train(from_tables(given)))
    assert run.curve("cka", arm="twin").values[-1] == pytest.approx(1)
    with pytest.raises(UserError, match="no labels"):
        run.curve("gap", arm="cl")
    given["arms"]["nscl"] = {"objective": "nscl"}
    with pytest.raises(UserError, match="it needs labels, and unlabelled has none"):
        from_tables(given)
