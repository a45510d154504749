"""Names of a sweep's own: classes that are nested, images that stay as many, steps that are whole."""

import torch

from coupled.address import Purpose, permutation, words
from coupled.inputs.dataset import data_info, load_split

SHAPE = "[set]\ndata.labelling = 'shape'\n"


def classes(sweep, text):
    return {point.name: list(point.config.data.classes) for point in sweep(text).points}


def test_fewer_classes_are_the_first_of_more_and_seeds_have_their_own(sweep):
    made = classes(sweep, f"{SHAPE}[axes]\nclasses = [2, 4, 8]\nseed = [0, 1]\n")
    assert list(made) == ["c2-s0", "c2-s1", "c4-s0", "c4-s1", "c8-s0", "c8-s1"]
    for s in ("s0", "s1"):
        assert made[f"c2-{s}"] == made[f"c4-{s}"][:2] == made[f"c8-{s}"][:2]
        assert made[f"c4-{s}"] == made[f"c8-{s}"][:4]
        assert sorted(made[f"c8-{s}"]) == list(range(8))
    assert made["c8-s0"] != made["c8-s1"]


def test_the_order_of_classes_is_that_of_64_bit_keys_of_the_run_s_seed(sweep):
    made = classes(sweep, f"{SHAPE}seed = 7\n[axes]\nclasses = [3]\n")
    keys = words(7, Purpose.CLASSES, 32).view(8, 4).tolist()
    assert made == {"c3": sorted(range(8), key=lambda c: tuple(keys[c][:2]))[:3]}
    assert permutation(7, Purpose.CLASSES, 8)[:3].tolist() == made["c3"] == [2, 4, 1]


def test_the_order_does_not_depend_on_the_base_s_own_classes(sweep):
    assert classes(sweep, f"{SHAPE}seed = 7\ndata.per_class = 50\n[axes]\nclasses = [3]\n") == {"c3": [2, 4, 1]}


def test_images_stay_as_many_and_without_them_grow(sweep):
    points = sweep(f"{SHAPE}images = 240\n[axes]\nclasses = [2, 3, 8]\n").points
    assert [(p.config.data.per_class, data_info(p.config).train_size) for p in points] == [
        (120, 240), (80, 240), (30, 240)
    ]  # fmt: skip
    assert torch.bincount(load_split(points[1].config, "train").labels("shape")).tolist() == [80, 80, 80]
    grown = [data_info(p.config).train_size for p in sweep(f"{SHAPE}[axes]\nclasses = [2, 3, 8]\n").points]
    assert grown == sorted(grown) and grown[0] < grown[2] == 20000


def test_published_rules_are_the_rates_of_the_paper_and_one_at_the_reference_batch_only_where_the_rates_are(sweep):
    text = "[set]\noptimiser = { reference_batch = 256, learning_rate = 0.3 }\n[axes]\nbatch_size = [64, 256]\n"
    rules = '"linear", "published-sqrt", "published-fourth-root", "constant"'
    points = {p.name: p for p in sweep(f"{text}lr_rule = [{rules}]\n").points}
    assert {name: point.values["lr_rule"] for name, point in points.items() if name.startswith("bs256")} == {
        "bs256-lr_linear_constant": ("linear", "constant"),
        "bs256-lr_published-sqrt": ("published-sqrt",),
        "bs256-lr_published-fourth-root": ("published-fourth-root",),
    }

    def peak(name):
        optimiser, size = points[name].config.optimiser, points[name].config.batches.size
        power = {"constant": 0, "linear": 1, "sqrt": 1 / 2, "fourth-root": 1 / 4}[optimiser.scaling]
        return optimiser.learning_rate * (size / (optimiser.reference_batch or size)) ** power

    # arXiv 2510.08852: .3 · B / 256, .3 · √B / 256, .3 · B^¼ / 256, .3
    for size in (64, 256):
        for rule, power in (("linear", 1), ("published-sqrt", 1 / 2), ("published-fourth-root", 1 / 4)):
            name = next(name for name in points if name.startswith(f"bs{size}-") and rule in name)
            assert abs(peak(name) / (0.3 * size**power / 256) - 1) < 1e-12
    assert peak("bs64-lr_constant") == peak("bs256-lr_linear_constant") == 0.3


def test_epochs_are_counted_of_what_is_left(sweep):
    points = sweep(f"{SHAPE}images = 240\nepochs = 2\n[axes]\nclasses = [2, 8]\nbatch_size = [16, 32]\n").points
    assert [p.config.train.steps for p in points] == [30, 14, 30, 14]  # ⌊240/16⌋ = 15, ⌊240/32⌋ = 7
