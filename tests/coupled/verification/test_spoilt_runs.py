"""Each check of `verify` sees what only it can see: hashes fit in all of these runs."""

import json
import struct
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from helpers import rewrite
from spoilt import chain_of_checkpoint, facts, flip, shard, state_of_checkpoint, tensors

from coupled.store import StoreError
from coupled.store.manifest import parse_line
from coupled.verification import verify

pytestmark = pytest.mark.slow  # runs of their own; others of the fast ones train, resume and read as well


def labels(run):
    tensors(run, "similarity", "shared", 3, **{"labels.size": (1, flip)})


def panel_ids(run):
    rewrite(run, shard(run, "panel", "shared", 0), lambda t: t["fixed.ids"].__setitem__(0, t["fixed.ids"][0] + 1))


def draws_of_surrogate(run):
    rewrite(run, shard(run, "surrogate", "shared", 0), lambda t: t["fixed.draws"].__setitem__((0, 0, 0), 7))


def rate(run):
    tensors(run, "scalars", "shared", 3, learning_rate=(0, 0.299))


def twin(run):
    rewrite(run, shard(run, "scalars", "twin", 3), lambda t: t["state.distance"].__setitem__(1, 1e-300))


def column(run):
    rewrite(run, shard(run, "scalars", "cl", 3), lambda t: t.pop("batch.loss"))


def row(run):
    """The last step of every column of a batch, of all arms alike."""
    for owner in ("cl", "nscl", "twin", "shared"):
        rewrite(
            run,
            shard(run, "scalars", owner, 3),
            lambda t: t.update({k: v[:-1] for k, v in t.items() if k.startswith("batch.")}),
        )


def shifted(run):
    rewrite(run, shard(run, "similarity", "cl", 3), lambda t: t["batch.step"].__iadd__(7))


def later_panel(run):
    rewrite(run, shard(run, "panel", "shared", 3), lambda t: t["fixed.labels.size"].__setitem__(2, 5))


def layer_of_twin(run):
    rewrite(run, shard(run, "layers", "twin", 0), lambda t: t["state.distance"].__setitem__((1, 0), np.nan))


def initial_weights(run):
    rewrite(run, "checkpoints/step-000000000/nscl.safetensors", one_ulp)


def initial_buffers(run):
    def change(found):
        next(array for name, array in found.items() if name.startswith("buffers.")).flat[0] += 1

    rewrite(run, "checkpoints/step-000000000/cl.safetensors", change)


def one_ulp(found):
    name = next(name for name in found if name.startswith("weights."))
    found[name].flat[0] = np.nextafter(found[name].flat[0], np.float32(np.inf))


def certificate(run):
    facts(run, certificate={"seed": 0, "initial_weights": "0" * 64})


def another_start(run):
    """A false digest of the initial weights, and a chain that follows from it."""
    facts(run, certificate={"seed": 0, "initial_weights": "0" * 64})
    links = [sha256(bytes(32)).digest()]

    def relink(found):
        for i, rate in enumerate(found["batch.learning_rate"]):
            digests = found["batch.ids_digest"][i].tobytes() + found["batch.draws_digest"][i].tobytes()
            links.append(sha256(links[-1] + digests + struct.pack("<d", rate)).digest())
            found["batch.chain"][i] = np.frombuffer(links[-1], np.uint8)

    for first in (0, 3):
        rewrite(run, shard(run, "scalars", "shared", first), relink)
    for step in (0, 3, 6):
        state_of_checkpoint(run, step, chain=links[step].hex())


def lost_line(run):
    name = shard(run, "layers", "nscl", 3)
    lines = [line for line in (run / "manifest.jsonl").read_bytes().splitlines() if name.encode() not in line]
    (run / name).unlink()
    renumber(run, lines)


def renumber(run, lines):
    entries = [replace(parse_line(line + b"\n"), seq=seq) for seq, line in enumerate(lines)]
    (run / "manifest.jsonl").write_bytes(b"".join(entry.line() for entry in entries))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (rate, "learning rate of step 3"),
        (lambda run: tensors(run, "scalars", "shared", 3, chain=(1, flip)), "chain breaks at step 4"),
        (lambda run: tensors(run, "scalars", "shared", 3, ids_digest=(0, flip)), "chain breaks at step 3"),
        (lambda run: tensors(run, "scalars", "shared", 0, draws_digest=(2, flip)), "chain breaks at step 2"),
        (lambda run: tensors(run, "similarity", "shared", 3, ids=(2, flip)), "batch.ids of step 5"),
        (lambda run: tensors(run, "similarity", "shared", 3, visits=(2, flip)), "batch.visits of step 5"),
        (labels, r"batch.labels.size of step 4"),
        (lambda run: tensors(run, "pixels", "shared", 3, pixels_digest=(0, flip)), "pixels of step 4"),
        (panel_ids, "fixed.ids of the panel"),
        (draws_of_surrogate, "fixed.draws of the surrogate"),
        (twin, "exact twin twin is 1e-300 from cl at step 4"),
        (layer_of_twin, "layers/twin.*exact twin twin is nan from cl at step 1"),
        (chain_of_checkpoint, "step-000000003/state.json: the state at step 3 carries another chain"),
        (lambda run: state_of_checkpoint(run, 3, fingerprint="0" * 64), "state at step 3 has the fingerprint 0000"),
        (initial_weights, "weights.* of arm nscl at step 0 is not what the seed gives"),
        (initial_buffers, "buffers.* of arm cl at step 0 is not what the seed gives"),
        (column, "scalars/cl/.*lacks the column batch.loss"),
        (row, "batch.step holds 3 4, scheduled are 3 4 5"),
        (shifted, "batch.step holds 10 11 12, scheduled are 3 4 5"),
        (later_panel, "fixed.labels.size of the panel"),
        (lambda run: facts(run, certificate=None), "run.json: its certificate is not"),
        (lambda run: facts(run, certificate={"seed": 9, "initial_weights": "0" * 64}), "its certificate is not"),
        (lambda run: facts(run, machine=["any"]), "its machine is not"),
        (lambda run: facts(run, determinism="in every way"), "its determinism is not"),
        (certificate, "state at step 0 carries another chain"),
        (another_start, "run.json: the digest of the initial weights is not that"),
        (lost_line, "the config has shard records/layers/nscl"),
    ],
)
def test_what_hashes_cannot_see_is_seen_and_named(spoil, message, run):
    spoil(run)
    with pytest.raises(StoreError, match=message):
        verify(run)


def z_row(run):
    rewrite(run, shard(run, "similarity", "nscl", 3), lambda t: t["batch.z"].__setitem__((1, 0, 0), 0.25))


def z_of_nothing(run):
    rewrite(run, shard(run, "similarity", "nscl", 3), lambda t: t["batch.z"].__setitem__(1, np.nan))


def trained_weights(run, step=3):
    rewrite(run, f"checkpoints/step-{step:09d}/nscl.safetensors", one_ulp)


def weights_of_nothing(run):
    def change(found):
        next(array for name, array in found.items() if name.startswith("weights."))[...] = np.nan

    rewrite(run, "checkpoints/step-000000003/nscl.safetensors", change)


def last_panel(run):
    rewrite(run, shard(run, "panel", "cl", 6), lambda t: t["state.h"].__setitem__((0, 0, 0), 0.25))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (z_row, "batch.z of similarity/nscl at step 4: the largest difference is"),
        (z_of_nothing, "batch.z of similarity/nscl at step 4: none of its numbers is finite in both"),
        (trained_weights, "nscl at step 3: the largest difference is"),
        (lambda run: trained_weights(run, 6), "of arm nscl at step 6: the largest difference is"),
        (weights_of_nothing, "it is not the same: state.norm of scalars/nscl at step 3|at step 3"),
        (last_panel, "state.h of panel/cl at step 6: the largest difference is"),
    ],
)
def test_only_training_again_sees_another_float(spoil, message, run):
    spoil(run)
    verify(run)
    with pytest.raises(StoreError, match=message):
        verify(run, replay=3)


def test_a_stretch_that_stops_when_trained_again_says_so(run):
    weights_of_nothing(run)
    with pytest.raises(StoreError, match="trained again from step 3, it stops: arm nscl has a non-finite loss"):
        verify(run, replay=3, stretch=1)


def test_other_code_that_gives_other_floats_is_said_and_is_no_damage(run):
    versions = json.loads((run / "run.json").read_bytes())["versions"]
    facts(run, versions=versions | {"coupled": "0.0.9+0123456789ab"})
    z_row(run)
    unproven = verify(run, replay=3).unproven
    said = [
        word for word in unproven if "trained again by other code they are others, which need not be damage" in word
    ]
    assert len(said) == 1 and "versions.coupled was 0.0.9+0123456789ab" in said[0]


def test_another_library_is_named_as_what_may_be_the_cause(run):
    versions = json.loads((run / "run.json").read_bytes())["versions"]
    facts(run, versions=versions | {"torch": "1.0"})
    z_row(run)
    with pytest.raises(StoreError, match=r"other conditions: versions.torch was 1.0"):
        verify(run, replay=3)
    tensors(run, "pixels", "shared", 3, pixels_digest=(0, flip))
    unproven = verify(run).unproven
    assert any("pixels of step 4 differ here, under other conditions" in word for word in unproven)
    assert any("floats here: the run was made under other conditions" in word for word in unproven)
