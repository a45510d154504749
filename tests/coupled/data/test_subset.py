"""Subsets: what is kept, in what order classes are numbered, and that the constants say so without the images."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coupled import data
from coupled.address import Purpose, permutation
from coupled.data.splits import FileSplit
from coupled.data.subset import FileSubset, ImageSubset, Selection, select
from coupled.errors import UserError

COUNTS = (9, 5, 30, 12)
INFO = data.DataInfo(
    name="fake",
    train_size=sum(COUNTS),
    test_size=8,
    size=2,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    classes={"kind": 4, "parity": 2},
    default_labelling="kind",
    train_counts={"kind": COUNTS},
    test_counts={"kind": (2, 2, 2, 2)},
)


def _split(counts=COUNTS):
    """Classes in a mixed order; the first pixel of image i is i."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 2, 2)
    return data.ArraySplit(images, {"kind": labels, "parity": torch.arange(len(labels)) % 2})


def _selected(**wanted):
    return select(INFO, _split(), "train", Selection("kind", **wanted))


def _tail_by_search(first, ratio, k, last):
    """⌊first · ratio^(−k/last)⌋ by counting up in rational arithmetic, at least 1."""
    size = 0
    while ((size + 1) ** last) * ratio**k <= first**last:
        size += 1
    return max(size, 1)


def _kept_by_definition(labels, classes, per_class, ratio):
    """The ids kept of each class, one class after another."""
    members = {c: [i for i, label in enumerate(labels.tolist()) if label == c] for c in classes}
    sizes = {c: min(len(members[c]), per_class or len(members[c])) for c in classes}
    first, kept = max(sizes.values()), []
    for k, c in enumerate(classes):
        size = sizes[c] if ratio is None else min(sizes[c], _tail_by_search(first, ratio, k, len(classes) - 1))
        order = permutation(0, Purpose.SUBSET, len(members[c]), a=c).tolist()
        kept += [members[c][position] for position in order[:size]]
    return sorted(kept)


CLASSES = st.permutations(range(4)).flatmap(lambda order: st.integers(2, 4).map(lambda k: tuple(order[:k])))
SELECTIONS = st.builds(
    dict,
    classes=st.none() | CLASSES,
    per_class=st.none() | st.integers(1, 40),
    imbalance=st.none() | st.integers(1, 60),
)


@given(wanted=SELECTIONS)
@settings(max_examples=60)
def test_a_subset_keeps_what_its_definition_says(wanted):
    subset, whole = _selected(**wanted), _split()
    classes = wanted["classes"] or (0, 1, 2, 3)
    ids = _kept_by_definition(whole.labels("kind"), classes, wanted["per_class"], wanted["imbalance"])
    assert subset.ids.tolist() == ids
    assert subset.labels("kind").tolist() == [classes.index(label) for label in whole.labels("kind")[ids].tolist()]
    assert subset.labels("parity").tolist() == [i % 2 for i in ids]
    assert subset.images(torch.arange(len(subset)))[:, 0, 0, 0].tolist() == ids


@given(wanted=SELECTIONS, split=st.sampled_from(["train", "test"]))
@settings(max_examples=40)
def test_the_constants_of_a_subset_are_those_of_the_loaded_split(wanted, split):
    counts = INFO.counts_of(split)["kind"]
    subset, known = select(INFO, _split(counts), split, Selection("kind", **wanted)), data.subset_info(INFO, **wanted)
    assert known.size_of(split) == len(subset)
    assert torch.bincount(subset.labels("kind"), minlength=known.classes["kind"]).tolist() == list(
        known.counts_of(split)["kind"]
    )
    assert (known.classes["parity"], known.mean) == (2, INFO.mean)


@given(
    labelling=st.sampled_from(["shape", "colour*size"]),
    seed=st.integers(0, 3),
    classes=st.none() | st.permutations(range(8)).map(lambda order: tuple(order[:3])),
    per_class=st.none() | st.integers(1, 3000),
    imbalance=st.none() | st.floats(1, 1e4),
)
@settings(max_examples=10)
def test_so_are_they_of_shapes(labelling, seed, **wanted):
    known = data.subset_info(data.info("shapes"), labelling=labelling, seed=seed, **wanted)
    for split in ("train", "test"):
        if set(wanted.values()) != {None}:
            subset = data.load("shapes", split, seed=seed, labelling=labelling, **wanted)
            counts = torch.bincount(subset.labels(labelling), minlength=known.classes[labelling]).tolist()
            assert (counts, len(subset)) == (list(known.counts_of(split)[labelling]), known.size_of(split))


def test_the_long_tail_of_cifar_is_the_published_one():
    """Cui et al. 2019: 12 406 images of CIFAR-10 at ρ = 100, 5000 of class 0 and 50 of class 9."""
    known = data.subset_info(data.info("cifar10"), imbalance=100.0)
    assert known.train_size == 12_406
    assert known.train_counts["class"] == (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)
    assert known.test_counts == data.info("cifar10").test_counts


@given(first=st.integers(1, 5000), ratio=st.integers(1, 10**6), last=st.integers(1, 12), part=st.floats(0, 1))
@settings(max_examples=100)
def test_a_size_is_rounded_down_exactly(first, ratio, last, part):
    k = round(part * last)
    counts = [first] * (last + 1)
    assert Selection("kind", imbalance=float(ratio)).kept(counts)[k] == _tail_by_search(first, ratio, k, last)


def test_a_whole_size_is_not_lost_to_rounding():
    """n · ρ^(−k/K) is whole in each of these, and floating point falls below it in some."""
    for root in range(2, 30):
        for power in range(1, 7):
            kept = Selection("kind", imbalance=float(root**power)).kept([7 * root**power] * (power + 1))
            assert kept == tuple(7 * root ** (power - k) for k in range(power + 1))


def test_a_longer_tail_keeps_part_of_a_shorter_one():
    for less, more in [
        ({"imbalance": 8.0}, {"imbalance": 3.0}),
        ({"per_class": 3}, {"per_class": 4}),
        ({"imbalance": 2}, {}),
    ]:
        small, large = (set(_selected(**wanted).ids.tolist()) for wanted in (less, more))
        assert small < large


def test_what_is_kept_of_a_class_does_not_depend_on_the_other_classes():
    labels, alone = _split().labels("kind"), {}
    for classes in [(2, 3), (0, 2), (2, 1, 0)]:
        ids = _selected(classes=classes, per_class=4).ids
        alone[classes] = ids[labels[ids] == 2].tolist()
    assert len(set(map(tuple, alone.values()))) == 1


def test_of_a_test_split_only_classes_count():
    whole = _split((2, 2, 2, 2))
    subset = select(INFO, whole, "test", Selection("kind", classes=(3, 1), per_class=1, imbalance=9.0))
    assert subset.ids.tolist() == [i for i, label in enumerate(whole.labels("kind").tolist()) if label in (1, 3)]


class _Files(FileSplit):
    """Files whose decoding only tells what was asked for."""

    def __len__(self):
        return len(_split())

    def labels(self, labelling):
        return _split().labels(labelling)

    def crops(self, ids, words, recipe, size):
        return ids, words, recipe, size

    def plain(self, ids, size):
        return ids, size


def test_a_subset_of_files_asks_for_the_original_ids_under_its_own_words():
    subset = select(INFO, _Files(), "train", Selection("kind", classes=(1, 3)))
    assert isinstance(subset, FileSubset) and isinstance(subset, FileSplit) and isinstance(subset, data.Subset)
    ids, words = torch.tensor([4, 0]), torch.ones(2, 2, 32)
    asked = subset.crops(ids, words, "recipe", 8)
    assert torch.equal(asked[0], subset.ids[ids]) and asked[1:] == (words, "recipe", 8)
    assert torch.equal(subset.plain(ids, 8)[0], subset.ids[ids])
    assert isinstance(_selected(), ImageSubset) and isinstance(_selected(), data.ImageSplit)


def test_a_subset_does_not_answer_to_another_spelling_of_its_labelling():
    subset = data.load("shapes", "test", seed=0, labelling="shape*size", classes=(3, 0))
    assert set(subset.labels("shape*size").tolist()) == {0, 1}
    with pytest.raises(UserError, match=r"unknown labelling size\*shape; allowed: .*; did you mean"):
        subset.labels("size*shape")


MISTAKES = {
    "unknown class": ({"classes": (0, 4)}, "data.classes names 4; the classes of kind are 0 to 3; remove 4"),
    "negative class": ({"classes": (-1, 2)}, "data.classes names -1; the classes"),
    "class twice": ({"classes": (1, 2, 1)}, r"data.classes = \[1, 2, 1\]; each class once"),
    "one class": ({"classes": (1,)}, r"data.classes = \[1\]; at least two"),
    "no class": ({"classes": ()}, r"data.classes = \[\]; at least two"),
    "no image": ({"per_class": 0}, "data.per_class = 0; at least 1"),
    "imbalance below 1": ({"imbalance": 0.5}, "data.imbalance = 0.5; from 1"),
    "imbalance nan": ({"imbalance": float("nan")}, "data.imbalance = nan; from 1"),
    "imbalance inf": ({"imbalance": float("inf")}, "data.imbalance = inf; from 1"),
    "unknown labelling": ({"labelling": "knd", "per_class": 3}, "unknown labelling knd; .* did you mean kind"),
}


@pytest.mark.parametrize(("wanted", "message"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_one_line(wanted, message):
    with pytest.raises(UserError, match=message) as error:
        data.subset_info(INFO, **wanted)
    assert "\n" not in str(error.value)


def test_imbalance_needs_two_classes():
    one = replace(INFO, classes={"kind": 1}, train_counts={"kind": (56,)}, test_counts={"kind": (8,)})
    with pytest.raises(UserError, match=r"data.imbalance = 2.0; kind has one class; remove it"):
        data.subset_info(one, imbalance=2.0)


def test_more_than_a_class_has_is_all_of_it():
    assert _selected(per_class=1000).ids.tolist() == list(range(sum(COUNTS)))


def test_counts_that_are_not_known_in_advance_are_one_line():
    with pytest.raises(UserError, match="a subset of fake; its train images of each class are not known"):
        data.subset_info(replace(INFO, train_counts={}), per_class=2)
    with pytest.raises(UserError, match="a subset of imagenet; its train images .*; name it image-folder"):
        data.subset_info(data.info("imagenet"), per_class=2)


def test_an_imbalance_of_one_keeps_everything():
    assert len(_selected(imbalance=1.0)) == sum(COUNTS)


def test_which_images_are_kept_is_golden():
    """A change here means that every run on a subset changes."""
    ids = data.load("shapes", "train", seed=0, labelling="size", per_class=5).ids
    assert ids.tolist() == [99, 668, 1470, 3453, 5068, 6330, 11493, 14215, 16316, 18167]
