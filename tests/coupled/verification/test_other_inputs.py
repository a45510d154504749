"""What `verify` proves of arms with other inputs, and that it sees each of their columns."""

import json
import shutil

import pytest
from other_inputs import KINDS, SHARING, config_of
from spoilt import facts, flip, state_of_checkpoint, tensors

from coupled.driver.train import train
from coupled.store import StoreError
from coupled.verification import verify

pytestmark = [pytest.mark.kernels, pytest.mark.slow]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(config_of(tmp_path_factory.mktemp("verify")))


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def test_it_says_what_each_arm_shares(whole):
    found = verify(whole, replay=2, stretch=2)
    proven = "\n".join(found.proven)
    for words in (
        "that cl, nscl saw it is by construction: one batch is made and handed to each of them",
        "through 6 recorded steps (to step 5) the chain of sample ids, integer draws and learning rates of other "
        "batches (draw 1) follows from the digest of the shared initial weights, and 3 saved states carry its links; "
        "other, twin saw it by construction, and shared with the others initial weights, learning rates and each "
        "sample's views at its visit",
        "of other views (draw 3)",
        "views saw it by construction, and shared with the others initial weights, learning rates and ids and visits "
        "of every batch",
        "made again: 144 views of 3 steps",
        "twin is at distance 0 from other at all 7",
        "trained again: steps 0 to 2, 3 to 5",
    ):  # fmt: skip
        assert words in proven, words
    assert found.unproven == ()


def spoil(stream, owner, first, **changes):
    return lambda run: tensors(run, stream, owner, first, **changes)


def links(run, **changes):
    chains = json.loads((run / "checkpoints/step-000000003/state.json").read_bytes())["state"]["chains"]
    state_of_checkpoint(run, 3, chains=chains | changes)


@pytest.mark.parametrize("arm", ["other", "views", "twin"])
@pytest.mark.parametrize(
    ("stream", "name", "message"),
    [
        ("scalars", "chain", "scalars/{}/.*chain breaks at step 4"),
        ("scalars", "ids_digest", "scalars/{}/.*chain breaks at step 4"),
        ("scalars", "draws_digest", "scalars/{}/.*chain breaks at step 4"),
        ("similarity", "ids", "similarity/{}/.*batch.ids of step 4"),
        ("similarity", "visits", "similarity/{}/.*batch.visits of step 4"),
        ("similarity", "labels.size", "similarity/{}/.*batch.labels.size of step 4"),
    ],
)
def test_every_column_of_its_inputs_is_checked(arm, stream, name, message, run):
    tensors(run, stream, arm, 3, **{name: (1, flip)})
    with pytest.raises(StoreError, match=message.format(arm)):
        verify(run)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil("pixels", "views", 3, pixels_digest=(0, flip)), "pixels/views/.*the pixels of step 4"),
        (lambda run: links(run, **{"views-3": "0" * 64}), "the state at step 3 carries another chain"),
        (lambda run: links(run, **{"views-4": "0" * 64}), "has not the chains of the run's kinds of input"),
        (lambda run: state_of_checkpoint(run, 3, chains={}), "has not the chains of the run's kinds of input"),
        (lambda run: state_of_checkpoint(run, 3, chains=[1]), "has not the chains of the run's kinds of input"),
        (lambda run: certificate(run, {"views-3": ["views", "cl"]}), "its certificate is not what"),
        (lambda run: certificate(run, None), "its certificate is not what"),
    ],
)
def test_pixels_chains_and_facts_are_checked(spoil, message, run):
    spoil(run)
    with pytest.raises(StoreError, match=message):
        verify(run)


def certificate(run, inputs):
    part = json.loads((run / "run.json").read_bytes())["certificate"] | {"inputs": inputs}
    facts(run, certificate={key: value for key, value in part.items() if value is not None})


def test_a_run_that_shares_all_has_no_other_chain(tmp_path):
    run = train(config_of(tmp_path, SHARING))
    state_of_checkpoint(run, 3, chains={KINDS[0]: "0" * 64})
    with pytest.raises(StoreError, match="has not the chains of the run's kinds of input"):
        verify(run)


def test_steps_that_are_not_recorded_are_drawn_again_for_every_chain(tmp_path):
    run = train(config_of(tmp_path, record={"scalars": {"every": 4}, "pixels": {"every": 0}}))
    proven = [word for word in verify(run).proven if " input: " in word]
    assert len(proven) == 3 and all("steps that are not recorded and were drawn again" in word for word in proven)
