"""A run with controls by the loss is verified as any other: drawn again, trained again, its twins at 0."""

import shutil

import pytest
from helpers import rewrite
from spoilt import config_of, shard

from coupled.driver.train import train
from coupled.store import StoreError
from coupled.verification import verify

pytestmark = [pytest.mark.kernels, pytest.mark.slow]
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "relabelled": {"kind": "placebo", "of": "nscl", "across": "run"},
    "anti": {"kind": "anti", "of": "nscl"},
    "same": {"kind": "twin", "of": "placebo"},
    "again": {"objective": "dcl"},
}


@pytest.fixture(scope="module")
def controlled(tmp_path_factory):
    return train(config_of(tmp_path_factory.mktemp("controls"), arms=ARMS))


def test_a_run_with_placebos_and_anti_is_trained_again_byte_for_byte(controlled):
    findings = verify(controlled, replay=2, stretch=2)
    proven = "\n".join(findings.proven)
    assert "trained again: steps 0 to 2, 3 to 5" in proven and findings.unproven == ()


def test_an_arm_with_all_traits_of_its_reference_is_a_twin_whatever_its_kind(controlled):
    sentences = [word for word in verify(controlled).proven if word.startswith("twin: ")]
    assert sentences == [
        "twin: same is at distance 0 from placebo at all 7 recorded steps",
        "twin: again is at distance 0 from cl at all 7 recorded steps",
    ]


@pytest.mark.parametrize(
    ("owner", "column", "message"),
    [
        ("placebo", "batch.permuted_gap", "batch.permuted_gap of scalars/placebo at step 4"),
        ("relabelled", "batch.permuted_mass", "batch.permuted_mass of scalars/relabelled at step 4"),
        ("again", "state.distance", "the exact twin again is 0.5 from cl at step 4"),
    ],
)
def test_what_is_recorded_of_controls_is_checked(controlled, owner, column, message, tmp_path):
    run = shutil.copytree(controlled, tmp_path / "run")
    rewrite(run, shard(run, "scalars", owner, 3), lambda t: t[column].__setitem__(1, 0.5))
    with pytest.raises(StoreError, match=message):
        verify(run, replay=2, stretch=2)


def test_a_permuted_column_that_is_left_out_is_found(controlled, tmp_path):
    run = shutil.copytree(controlled, tmp_path / "run")
    rewrite(run, shard(run, "scalars", "placebo", 3), lambda t: t.pop("batch.permuted_skipped"))
    with pytest.raises(StoreError, match="permuted_skipped"):
        verify(run)
