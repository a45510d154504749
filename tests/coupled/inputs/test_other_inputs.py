"""Inputs of an arm's own: which integers are others, and which are the shared ones."""

from contextlib import closing

import numpy as np
import pytest
import torch
from helpers import tables
from other_inputs import OTHERS, SHARING, config_of
from PIL import Image

from coupled.address import Purpose
from coupled.config import from_tables
from coupled.config.controls import MOST_INPUTS
from coupled.config.traits import Inputs, Permuted, own_inputs
from coupled.inputs.dataset import load_split
from coupled.inputs.draws import Draws
from coupled.inputs.order import Balanced, Uniform
from coupled.inputs.placebo import permuted
from coupled.inputs.source import Source, Stream
from coupled.ranks.mesh import ALONE, Axis, Mesh
from coupled.ranks.placement import Placement
from coupled.views import view_words

BATCHES, VIEWS = Inputs("batches", 1), Inputs("views", 3)
LABELS = torch.arange(100) % 7
CPU = torch.device("cpu")


def source_of(config, mesh=ALONE):
    return Source(config, load_split(config, "train"), ["size"], CPU, mesh)


@pytest.fixture(scope="module")
def draws(tmp_path_factory):
    """The integers of every kind of input of 32 images in batches of 8: four steps an epoch."""
    config = config_of(tmp_path_factory.mktemp("draws"))
    return {inputs: Draws(config, inputs, 32, None) for inputs in (None, BATCHES, VIEWS)}


def by_visit(draws, steps):
    """(sample, visit) → its words (2, 32)."""
    words = {}
    for step in range(steps):
        ids, visits, drawn = draws.at(step)
        pairs = zip(ids.tolist(), visits.tolist(), strict=True)
        words |= {pair: drawn[:, k].tolist() for k, pair in enumerate(pairs)}
    return words


def test_other_batches_have_every_sample_once_an_epoch_and_its_shared_views(draws):
    shared, other = (by_visit(draws[inputs], 8) for inputs in (None, BATCHES))
    assert len(shared) == 64 and shared == other
    orders = [[draws[inputs].at(step).ids.tolist() for step in range(8)] for inputs in (None, BATCHES)]
    assert all(own != its for own, its in zip(*orders, strict=True))


def test_other_views_have_the_shared_ids_and_visits_and_no_word_alike(draws):
    for step in range(8):
        own, its = draws[VIEWS].at(step), draws[None].at(step)
        assert torch.equal(own.ids, its.ids) and torch.equal(own.visits, its.visits)
        assert not torch.equal(own.words, its.words) and (own.words == its.words).float().mean() < 0.01
        # Two of a kind: 2·draw + view gives no view of one draw to another.
        addressed = view_words(0, Purpose.VIEW, own.ids, own.visits, torch.tensor([[6], [7]]))
        assert torch.equal(own.words, addressed)


def test_other_balanced_batches_have_the_shared_shares_and_another_order():
    own, its = Balanced(3, LABELS, 7, 16, draw=2), Balanced(3, LABELS, 7, 16)
    drawn = torch.zeros(7, dtype=torch.int64)
    for step in range(70):
        ids = own.at(step)[0]
        assert len(set(ids.tolist())) == 16
        drawn += LABELS[ids].bincount(minlength=7)
        if step % 7 == 6:
            assert drawn.tolist() == [16 * (step + 1) // 7] * 7
    extra = [[LABELS[of.at(step)[0]].bincount(minlength=7).tolist() for step in range(7)] for of in (own, its)]
    assert extra[0] != extra[1], "the classes that get one sample more are drawn again too"


def test_golden_integers_of_other_inputs():
    """Equal on every machine. A change here changes what every arm of other inputs trains on."""
    assert Uniform(0, 1000, 8, draw=1).at(3)[0].tolist() == [119, 17, 580, 819, 83, 258, 100, 428]
    assert Balanced(0, LABELS, 7, 8, draw=1).at(3)[0].tolist() == [49, 42, 99, 58, 87, 81, 75, 76]
    ids, visits = torch.tensor([5]), torch.tensor([2])
    words = [view_words(0, Purpose.VIEW, ids, visits, 2 * 3 + view)[0, :4].tolist() for view in (0, 1)]
    assert words == [[3996243546, 2966207483, 1549147372, 1749468442], [2791528398, 1213563200, 3829163175, 795577232]]


def test_the_last_draw_of_views_has_an_address_of_its_own(tmp_path):
    last = Inputs("views", MOST_INPUTS)
    config = config_of(tmp_path, {**SHARING, "x": {"kind": "other-inputs", "inputs": "views", "draw": MOST_INPUTS}})
    assert list(own_inputs(config.arms)) == [last]
    words = Draws(config, last, 32, None).at(0).words
    ids, visits, shared = Draws(config, None, 32, None).at(0)
    neighbour = view_words(config.seed, Purpose.INIT, ids, visits, torch.tensor([[0], [1]]))
    assert words.unique().numel() > 0.99 * words.numel()
    assert not torch.equal(words, shared) and not torch.equal(words, neighbour)


def test_a_batch_holds_what_each_arm_sees(tmp_path):
    arms = {**SHARING, **OTHERS, "placebo": {"kind": "placebo", "of": "nscl"}}
    arms["po"] = {"kind": "other-inputs", "of": "placebo"}
    source = source_of(config := config_of(tmp_path, arms))
    batch, labels = source.at(2), source.labels["size"]
    assert batch.of(None) is batch and set(batch.others) == {BATCHES, VIEWS}
    for inputs in (None, BATCHES, VIEWS):
        own = batch.of(inputs)
        assert own.of(inputs) is own and torch.equal(own.labels["size"], labels[own.ids])
        key = Permuted("size", "batch", 1)
        expected = permuted(key, labels, seed=config.seed, step=2, ids=own.ids)
        assert torch.equal(own.pairs[key].labels, expected)
        assert own.pixels.numpy().tobytes() == source.pixels(own.ids, own.words).numpy().tobytes()


def test_a_view_of_other_batches_has_the_pixels_of_the_shared_one(tmp_path):
    """The same sample at the same visit, in batches of another step."""
    source = source_of(config_of(tmp_path, data={"per_class": 16}))
    pixels = {inputs: {} for inputs in (None, BATCHES)}
    for step in range(4):
        for inputs, of_sample in pixels.items():
            batch = source.at(step).of(inputs)
            of_sample |= {i: batch.pixels[[k, 8 + k]].numpy().tobytes() for k, i in enumerate(batch.ids.tolist())}
    assert len(pixels[None]) == 32 and pixels[None] == pixels[BATCHES]


def test_a_rank_makes_the_views_of_its_arms_and_all_integers(tmp_path):
    config = config_of(tmp_path)
    mesh = Mesh(Placement((("nscl", "other", "twin"), ("cl", "views"))), arms=Axis(1, 2))
    whole, part = source_of(config).at(1), source_of(config, mesh).at(1)
    assert set(part.others) == {VIEWS} and set(part.elsewhere) == {BATCHES}
    for inputs, integers in whole.integers().items():
        assert all(map(torch.equal, integers, part.integers()[inputs]))
    assert torch.equal(part.of(VIEWS).pixels, whole.of(VIEWS).pixels)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_hand_over_every_kind_of_input(tmp_path, workers):
    draw = np.random.default_rng(3)
    for index in range(20):
        for split in ("train", "test"):
            path = tmp_path / split / "ab"[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    data = {"name": "image-folder", "workers": workers, "labelling": "class"}
    config = from_tables(tables(arms={**SHARING, **OTHERS}, data=data, paths={"data": str(tmp_path)}))
    source = Source(config, load_split(config, "train"), ["class"], CPU)
    with closing(Stream(source, 3)) as stream:
        for step in range(3):
            own, its = stream.at(step), source.at(step)
            for inputs in (None, BATCHES, VIEWS):
                assert torch.equal(own.of(inputs).pixels, its.of(inputs).pixels)
                assert torch.equal(own.of(inputs).words, its.of(inputs).words)
