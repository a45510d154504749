"""Late nudges and kicks: how far they move which arm, at which state, and that nothing else hears of them."""

import math
import shutil
from statistics import NormalDist

import numpy as np
import pytest
import torch
from helpers import rewrite, tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from coupled.address import Purpose, counter_of, name_word, uniform, words
from coupled.arms.audits import Audits
from coupled.arms.directions import Directions, _compiled, _in_operations, add_along
from coupled.arms.initial import build_arms
from coupled.arms.moves import aside
from coupled.arms.odds import odds
from coupled.driver.assembly import build
from coupled.driver.train import resume, train
from coupled.errors import RunStopped
from coupled.models.flat import FlatState
from coupled.recording.checkpoints import restore
from coupled.store import StoreError, checkpoint_folder, open_tensors
from coupled.theory.learning_rate import learning_rate
from coupled.verification import verify

pytestmark = [pytest.mark.kernels, pytest.mark.slow]

CPU = torch.device("cpu")
BASE = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl", "temperature": 0.2}}
MOVED = {
    "ulp": {"kind": "nudged", "at": 2},
    "late": {"kind": "nudged", "at": 3, "scale": 1e-3, "draw": 5},
    "along": {"kind": "nudged", "at": 3, "scale": 1e-2, "direction": "batch"},
    "matched": {"kind": "nudged", "scale": "matched", "match": "nscl"},
    "kicked": {"kind": "kicked", "match": "nscl"},
}
LAYER = FlatState(torch.nn.BatchNorm1d(1 << 14, device="meta"), torch.float64, CPU)
TWINS = {f"{name}-twin": {"kind": "twin", "of": name, "reference": name} for name in MOVED}
BOTH = {"both": {"kind": "nudged", "of": "kicked", "at": 4, "scale": 1e-3}}
FIRST = {"late": 3, "ulp": 2, "along": 3, "matched": 1, "kicked": 1}


def config_of(folder, **sections):
    sections = {
        "arms": BASE | MOVED,
        "train": {"steps": 5, "precision": "float64"},
        "checkpoints": {"keep": {"every": 1}},
        "optimiser": {"weight_decay": 1e-3, "warmup": 2},
        **sections,
    }
    return tiny(folder, **sections)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with an arm that is moved in every way."""
    torch.set_num_threads(1)
    return train(config_of(tmp_path_factory.mktemp("moved"), arms=BASE | MOVED | TWINS | BOTH))


def saved(run, arm, step):
    return open_tensors(run / checkpoint_folder(step) / f"{arm}.safetensors")


def layers_of(run, arm, step):
    file = saved(run, arm, step)
    return {name: file[name].astype(np.float64) for name in file if name.startswith("weights.")}


def rest(run, arm, step):
    file = saved(run, arm, step)
    return {name: file[name].tobytes() for name in file if not name.startswith("weights.")}


def recorded(run, stream, arm, column):
    rows = [open_tensors(path) for path in sorted(run.glob(f"records/{stream}/{arm}/*.safetensors"))]
    steps = f"{column.partition('.')[0]}.step"
    return {
        step: row
        for file in rows
        if column in file
        for step, row in zip(file[steps].tolist(), file[column], strict=True)
    }


def lengths(run, arm, other, step):
    own, others = layers_of(run, arm, step), layers_of(run, other, step)
    return np.array([np.linalg.norm(own[name] - others[name]) for name in own])


@pytest.mark.parametrize(("arm", "at"), FIRST.items())
def test_an_arm_is_exactly_its_original_before_its_first_move_and_not_after(run, arm, at):
    distances = recorded(run, "scalars", arm, "state.distance")
    assert list(distances) == list(range(6))
    assert all(distances[step].tobytes() == bytes(8) for step in range(at))
    assert all(distances[step] > 0 for step in range(at, 6))


@pytest.mark.parametrize(("arm", "at"), FIRST.items())
def test_a_move_is_in_its_state_and_nowhere_else(run, arm, at):
    """Not in what the update moved, nor in momentum and running statistics."""
    moved, original = (recorded(run, "layers", name, "update.norm") for name in (arm, "cl"))
    assert moved[at - 1].tobytes() == original[at - 1].tobytes()
    assert rest(run, arm, at) == rest(run, "cl", at)
    squares = sum(lengths(run, arm, "cl", at) ** 2)
    assert recorded(run, "scalars", arm, "state.distance")[at] == pytest.approx(math.sqrt(squares), rel=1e-12)


def test_late_signs_are_those_of_a_nudge_at_the_start(run):
    original, late = layers_of(run, "cl", 3), layers_of(run, "late", 3)
    for name, weights in original.items():
        address = {"a": name_word(name.removeprefix("weights.")), "b": 5}
        signs = [2 * (word & 1) - 1 for word in words(0, Purpose.NUDGE, weights.size, **address).tolist()]
        assert np.array_equal(late[name], weights * (1 + np.array(signs).reshape(weights.shape) * 1e-3))


def test_a_late_nudge_by_one_ulp_moves_every_weight_to_a_neighbour(run):
    original, late = layers_of(run, "cl", 2), layers_of(run, "ulp", 2)
    for name, weights in original.items():
        neighbours = [np.nextafter(weights, end) for end in (np.inf, -np.inf)]
        assert ((late[name] == neighbours[0]) | (late[name] == neighbours[1])).all()


def test_a_nudge_at_the_start_is_as_it_was(tmp_path):
    plain = build(config_of(tmp_path, arms={**BASE, "x": {"kind": "nudged"}}))
    written = build(config_of(tmp_path, arms={**BASE, "x": {"kind": "nudged", "at": 0}}))
    assert torch.equal(plain.arms["x"].state.weights, written.arms["x"].state.weights)
    assert plain.run_json == written.run_json and not written.moves.are_due(1)


def arm_at(run, config, arm, step, as_arm=None):
    """An arm with the state of `arm` at a step, and the loss of `as_arm`."""
    copy = build_arms(config, CPU)[as_arm or arm]
    restore(copy, saved(run, arm, step), step)
    return copy


def per_layer(arm, flat):
    return [flat[segment.start : segment.stop].double() for segment in arm.state.shared_segments]


def test_a_nudge_along_a_gradient_is_that_of_another_batch_by_the_stated_share_of_each_layer(run, tmp_path):
    parts = build(config_of(tmp_path, arms=BASE | MOVED))
    arm = arm_at(run, parts.config, "cl", 3)
    arm.forward_backward(parts.source.at(2**31 + 1))
    moved = arm_at(run, parts.config, "along", 3).state.weights - arm.state.weights
    flats = (arm.state.weights, arm.state.gradient, moved)
    for weight, gradient, move in zip(*(per_layer(arm, flat) for flat in flats), strict=True):
        wanted = 1e-2 * weight.norm() * gradient / gradient.norm() if gradient.any() else 0 * gradient
        assert (move - wanted).norm() <= 1e-13 * weight.norm()


def test_a_gradient_aside_leaves_nothing_behind(tmp_path):
    parts = build(config_of(tmp_path, arms=BASE))
    arm, twin = parts.arms["cl"], build_arms(parts.config, CPU)["cl"]
    for each in (arm, twin):
        each.forward_backward(parts.source.at(0))
        each.update(0.1)
    kept = arm.loss, arm.z, arm.sigma, arm.squares
    assert not torch.equal(arm.gradient_aside(parts.source.at(aside(1))), arm.state.gradient)
    assert all(a is b for a, b in zip(kept, (arm.loss, arm.z, arm.sigma, arm.squares), strict=True))
    assert torch.equal(arm.state.gradient, twin.state.gradient)
    for each in (arm, twin):
        each.forward_backward(parts.source.at(1))
        each.update(0.1)
    assert torch.equal(arm.state.buffers, twin.state.buffers) and torch.equal(arm.state.weights, twin.state.weights)


def test_other_arms_have_the_bytes_that_they_have_without_moves(run, tmp_path):
    plain = train(config_of(tmp_path, arms=BASE))
    for name in BASE:
        for step in range(6):
            file = f"{checkpoint_folder(step)}/{name}.safetensors"
            mine, theirs = open_tensors(plain / file), open_tensors(run / file)
            assert all(mine[key].tobytes() == theirs[key].tobytes() for key in mine)


def test_a_matched_nudge_is_as_long_as_the_first_difference_in_every_layer(run):
    difference, moved = lengths(run, "nscl", "cl", 1), lengths(run, "matched", "cl", 1)
    assert difference.min() > 0
    assert np.allclose(moved, difference, rtol=1e-9, atol=0)


def literal_direction(name, shape, purpose, **fields):
    """A layer's direction, of length 1, word by word."""
    drawn = words(0, purpose, math.prod(shape), a=name_word(name.removeprefix("weights.")), **fields).tolist()
    values = np.array([NormalDist().inv_cdf((word + 0.5) / 2**32) for word in drawn])
    return (values / np.linalg.norm(values)).reshape(shape)


def test_a_matched_nudge_goes_where_its_address_says(run):
    moved, original = layers_of(run, "matched", 1), layers_of(run, "cl", 1)
    for name, weights in original.items():
        move = moved[name] - weights
        direction = literal_direction(name, weights.shape, Purpose.MATCHED, b=1)
        assert np.allclose(move / np.linalg.norm(move), direction, rtol=0, atol=1e-9)


@pytest.mark.parametrize("step", [0, 1, 3])
def test_a_kick_is_as_long_as_the_rate_times_the_objective_difference_in_every_layer(run, tmp_path, step):
    """Each gradient from a forward of its own; the kick is what the weights are behind the plain update."""
    parts = build(config_of(tmp_path, arms=BASE | MOVED))
    batch, config = parts.source.at(step), parts.config
    own, other = (arm_at(run, config, "nscl", step, as_arm=name) for name in ("nscl", "cl"))
    kicked = arm_at(run, config, "kicked", step)
    for arm in (own, other, kicked):
        arm.forward_backward(batch)
    rate = learning_rate(config.optimiser, step, config.batches.size)
    kicked.update(rate)
    lengths = [rate * b.norm() for b in per_layer(own, other.state.gradient - own.state.gradient)]
    after = layers_of(run, "kicked", step + 1)
    for (name, weights), length in zip(kicked.state.named_weights().items(), lengths, strict=True):
        direction = literal_direction(name, tuple(weights.shape), Purpose.KICK, b=1, c=step)
        move = after[f"weights.{name}"] - weights.numpy()
        assert length > 0
        assert np.linalg.norm(move - float(length) * direction) <= 1e-9 * float(length)


@pytest.mark.parametrize("name", [*TWINS])
def test_a_twin_of_an_arm_that_is_moved_is_at_exactly_0(run, name):
    distances = recorded(run, "scalars", name, "state.distance")
    assert len(distances) == 6 and not any(distance.tobytes() != bytes(8) for distance in distances.values())


def test_an_arm_can_be_moved_in_more_than_one_way(run):
    assert lengths(run, "both", "kicked", 3).max() == 0 < lengths(run, "both", "kicked", 4).min()


def test_kicks_of_no_difference_make_a_twin(tmp_path):
    arms = {**BASE, "same": {"kind": "twin"}, "kicked": {"kind": "kicked", "match": "same"}}
    run = train(config_of(tmp_path, arms=arms, train={"steps": 3}))
    for step in range(4):
        kicked, original = saved(run, "kicked", step), saved(run, "cl", step)
        assert all(kicked[name].tobytes() == original[name].tobytes() for name in original)


def test_a_nudge_as_long_as_nothing_stops_the_run(tmp_path):
    # The first batch may have no pair of one class: nscl is dcl there.
    arms = {**BASE, "matched": {"kind": "nudged", "scale": "matched", "match": "other"}}
    arms["other"] = {"objective": "homotopy", "lam": 1.0}
    with pytest.raises(RunStopped, match=r"arm matched is to be nudged as far as an arm is that has not moved apart"):
        train(config_of(tmp_path, arms=arms, train={"steps": 3}))


def test_a_layer_without_a_length_keeps_the_sign_of_its_zeros(tmp_path):
    arm = build(config_of(tmp_path, arms=BASE)).arms["cl"]
    arm.state.weights.copy_(torch.full_like(arm.state.weights, -0.0))
    layers = len(arm.state.weight_segments)
    direction, ones, zeros = torch.ones_like(arm.state.weights), torch.ones(layers), torch.zeros(layers)
    for wanted, lengths in ((zeros, ones), (ones, zeros)):
        add_along(arm.state, arm.state.weight_segments, direction, wanted.double(), lengths.double())
    assert torch.signbit(arm.state.weights).all() and not arm.state.weights.any()


def test_words_of_directions_are_those_of_each_layers_address_compiled_and_in_operations(tmp_path):
    state = build(config_of(tmp_path, arms=BASE)).arms["cl"].state
    directions, seed = Directions(state, 2**40 + 3), 2**40 + 3
    of = directions._places, directions._names
    compiled, plain = (way(counter_of(seed, Purpose.KICK, b=7, c=9), *of) for way in (_compiled, _in_operations))
    assert torch.equal(compiled, plain)
    for segment in state.shared_segments:
        count = segment.stop - segment.start
        literal = 2 * uniform(words(seed, Purpose.KICK, count, a=name_word(segment.name), b=7, c=9)) - 1
        assert torch.equal(compiled[segment.start : segment.stop], literal)


def test_words_do_not_depend_on_the_threads_that_make_them():
    places, names = np.arange(1 << 17), np.full(1 << 17, 2**32 - 1)
    alone, shared = (odds(places, names, (2**32 - 1, 5), (2**32 - 1, 28 << 24), threads) for threads in (1, 3))
    assert alone.tobytes() == shared.tobytes() and (abs(alone) < 1).all()


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**32 - 1), st.integers(0, 2**24 - 1))
@settings(max_examples=20)
def test_a_direction_is_normal_by_its_first_moments(seed, draw, step):
    """And so, divided by its length, uniform on the sphere."""
    values = Directions(LAYER, seed).normals(Purpose.KICK, draw, step) * math.sqrt(2)
    n = len(values)
    # Six standard errors of the mean, the variance and the fourth moment of a standard normal.
    assert abs(values.mean()) < 6 / math.sqrt(n)
    assert abs(values.square().mean() - 1) < 6 * math.sqrt(2 / n)
    assert abs((values**4).mean() - 3) < 6 * math.sqrt(96 / n)


def test_padding_stays_0_and_a_head_is_not_kicked(tmp_path):
    arms = {**BASE, "ce": {"objective": "ce"}, "other": {"kind": "twin", "of": "ce", "reference": "cl"}}
    parts = build(config_of(tmp_path, arms=arms))
    state = parts.arms["ce"].state
    before, layers = state.weights.clone(), len(state.shared_segments)
    Directions(state, 0).add(state, torch.ones(layers, dtype=torch.float64), Purpose.KICK, draw=1)
    moved = state.weights - before
    for segment in state.shared_segments:
        assert float(segment.view(moved).norm()) == pytest.approx(1)
        assert not moved[segment.stop : segment.padded_stop].any()
    assert not moved[state.shared :].any()


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"scale": 1e-9}, "arm late gets a nudge that float32 cannot hold at step 4"),
        ({"scale": 1e-12, "direction": "batch"}, "arm late gets a nudge that float32 cannot hold at step 4"),
    ],
)
def test_a_late_nudge_that_the_precision_cannot_hold_stops_the_run_before_its_state_is_saved(tmp_path, arm, message):
    arms = {**BASE, "late": {"kind": "nudged", "at": 4, **arm}}
    config = config_of(tmp_path, arms=arms, train={"precision": "float32"})
    for again in (lambda: train(config), lambda: resume(tmp_path / "tiny")):
        with pytest.raises(RunStopped, match=message):
            again()
        assert (tmp_path / "tiny" / checkpoint_folder(3)).exists()
        assert not (tmp_path / "tiny" / checkpoint_folder(4)).exists()


def test_lengths_that_are_not_finite_stop_the_run(tmp_path, monkeypatch):
    plain = Audits.gradient
    monkeypatch.setattr(Audits, "gradient", lambda self, at, of: plain(self, at, of) * torch.inf)
    with pytest.raises(RunStopped, match="arm kicked is moved by what is not finite at step 1: all arms stopped"):
        train(config_of(tmp_path))


def test_training_again_repeats_moves_and_what_is_moved_late_is_proven_exact_until_then(run):
    proven = verify(run, replay=3).proven
    assert any("trained again" in sentence and "3 checkpoints" in sentence for sentence in proven)
    for name, at in FIRST.items():
        steps = f"at all {at} recorded steps before {at}, where it is moved"
        assert f"moved late: {name} is at distance 0 from cl {steps}" in proven
    assert "moved late: both is at distance 0 from kicked at all 4 recorded steps before 4, where it is moved" in proven


def test_a_late_arm_that_was_elsewhere_before_is_seen(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (shard,) = (path for path in copy.glob("records/scalars/late/*") if 2 in open_tensors(path)["state.step"])
    rewrite(copy, str(shard.relative_to(copy)), lambda tensors: tensors["state.distance"].fill(1e-300))
    with pytest.raises(StoreError, match="the copy late is 1e-300 from cl at step 2"):
        verify(copy)


def test_golden_words_of_moves_and_the_batch_that_gives_a_direction(tmp_path):
    name = name_word("encoder.conv1.weight")
    matched, kick = words(0, Purpose.MATCHED, 4, a=name, b=1), words(0, Purpose.KICK, 4, a=name, b=2, c=3)
    assert matched.tolist() == [3866220588, 1158183195, 4173022118, 3154473219]
    assert kick.tolist() == [2065138757, 534896218, 3909049787, 1961852792]
    parts = build(config_of(tmp_path, arms=BASE))
    assert (aside(1), aside(2**32 - 1)) == (2**31 + 1, 2**32 - 1)
    assert parts.source.at(aside(1)).ids.tolist() == [16304, 12377, 5766, 19338, 14484, 6811, 17309, 2026]
