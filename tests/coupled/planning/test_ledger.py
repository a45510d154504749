"""What a plan says of the ledger: bytes that a checkpoint has, and what is held of arms that begin apart."""

import pytest
from helpers import tiny

from coupled.driver.assembly import assemble
from coupled.driver.train import train
from coupled.planning.ledger import ledger_cost
from coupled.planning.plan import plan
from coupled.store import open_tensors

ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "late": {"kind": "nudged", "scale": 1e-3, "at": 1},
    "nudged": {"kind": "nudged", "scale": 1e-3},
    # Both begin at the nudged weights of cl: the nudge is the same one.
    "nudged_nscl": {"kind": "nudged", "scale": 1e-3, "of": "nscl", "reference": "nudged"},
    "independent": {"kind": "independent"},
    "placebo": {"kind": "placebo", "of": "nscl"},
}


def config_of(folder, **sections):
    record = {"ledger": {"every": 1}}
    return tiny(folder, **{"arms": ARMS, "record": record, "train": {"steps": 1}, **sections})


@pytest.mark.kernels
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_what_is_saved_of_the_ledger_has_the_bytes_that_plan_says(tmp_path, momentum):
    config = config_of(tmp_path, optimiser={"momentum": momentum}, arms={n: ARMS[n] for n in ("cl", "nscl", "late")})
    root, forecast = train(config), plan(config)
    for arm in ("nscl", "late"):
        file = open_tensors(root / f"checkpoints/step-000000001/{arm}.ledger.safetensors")
        assert sum(file[name].nbytes for name in file) == forecast.ledger.saved[arm] * forecast.vector


def test_a_start_is_held_of_arms_that_begin_apart_alone_and_once_where_they_share_it(tmp_path):
    cost = ledger_cost(config_of(tmp_path))
    assert set(cost.starts) == {"nudged", "independent"}
    own = sum(cost.held.values())
    assert cost.held_by(ARMS) == own + 3  # cl's, the nudged and the independent start
    assert cost.held_by(["nudged_nscl", "placebo", "late", "nscl", "cl"]) == own - sum(
        cost.held[arm] for arm in ("nudged", "independent")
    )


def test_the_starts_of_a_plan_are_those_that_a_ledger_makes(tmp_path):
    config = config_of(tmp_path)
    run = assemble(config)
    assert run is not None
    with run:
        ledger = run.ledger
        for arm in ARMS:
            ledger._starts_of(arm)
        assert len({flat.data_ptr() for flat in ledger._starts.values()}) == 3
        assert set(ledger._apart) == set(ledger_cost(config).starts)
