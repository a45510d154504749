"""Numbers of a config that the run's precision cannot hold are one line; those that it just holds train, or the run
stops as it says.
"""

import dataclasses
import math

import pytest
import torch
from helpers import tables, tiny
from torch import nn

from coupled.arms.optimisers import Optimiser as Stepper
from coupled.config import from_resolved, from_tables, resolved
from coupled.config.fields import option
from coupled.config.load import tables_of
from coupled.config.precision import _rounded
from coupled.config.schema import Arm, Optimiser, Train
from coupled.driver.train import train
from coupled.errors import RunStopped, UserError
from coupled.models.flat import FlatState
from coupled.objectives import losses
from coupled.planning.vacuity import vacuities
from coupled.theory import bounds
from coupled.theory.learning_rate import learning_rates, peak

OWNERS = {"momentum": "sgd", "trust": "lars", "beta1": "adamw", "beta2": "adamw", "epsilon": "adamw"}
ROUNDED = [field for field in dataclasses.fields(Optimiser) if field.metadata["rounded"]]
RANGES = {"float32": (1.2e-38, 3.4e38), "float64": (2.3e-308, 1.7e308), "bf16": (1.2e-38, 3.4e38)}
PRECISIONS = list(RANGES)


def made(optimiser, precision="float32", **sections):
    return from_tables(tables(optimiser=optimiser, train={"precision": precision}, **sections))


def of(field, value):
    """An [optimiser] table with one number of it."""
    return {"name": OWNERS.get(field.name, "sgd"), field.name: value}


def ends(field, precision):
    """The lowest and the highest number of a field that are allowed, 0 apart."""
    low, high = RANGES[precision]
    below_1 = math.nextafter(1, 0) if precision == "float64" else 1 - 2**-24
    return low, below_1 if field.metadata["bounds"][1] == 1 else high


def test_every_number_of_the_optimiser_is_rounded_or_an_integer():
    numbers = [field for field in dataclasses.fields(Optimiser) if "float" in str(field.type)]
    assert numbers == ROUNDED and len(numbers) == 8


def test_the_ranges_are_those_of_torch():
    for precision in ("float32", "float64"):
        kind = torch.finfo(getattr(torch, precision))
        low, high = RANGES[precision]
        assert kind.smallest_normal <= low < 1.1 * kind.smallest_normal and 0.9 * kind.max < high <= kind.max


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("field", ROUNDED, ids=lambda field: field.name)
def test_a_number_is_allowed_up_to_the_ends_and_not_beyond(field, precision):
    low, high = ends(field, precision)
    for value in (low, high):
        assert getattr(made(of(field, value), precision).optimiser, field.name) == value
    name = "float64" if precision == "float64" else "float32"
    refused = [(0.99 * low, f"{name} holds numbers from {low:g}; raise it")]
    if high > 1:
        refused.append((min(1.04 * high, 1.79e308), f"{name} holds numbers up to {high:g}; lower it"))
    elif precision != "float64":  # there the next number is 1 itself
        refused.append((1 - 1e-11, "value < 1, but in float32 it is 1; at most 0.99999994"))
    for value, message in refused:
        with pytest.raises(UserError) as error:
            made(of(field, value), precision)
        assert str(error.value).startswith(f"optimiser.{field.name} = {value!r}; ") and message in str(error.value)
        assert ("or use train.precision = float64" in str(error.value)) == (precision != "float64")


TOGETHER = {
    "scaled": (
        {"learning_rate": 3e38, "scaling": "linear", "reference_batch": 1},
        "learning_rate = 3e+38, scaled to 2.4e+39 for batches of 8; float32 holds numbers up to 3.4e+38",
    ),
    "scaled down": (
        {"learning_rate": 1.2e-38, "scaling": "linear"},
        "learning_rate = 1.2e-38, scaled to 3.75e-40 for batches of 8; float32 holds numbers from 1.2e-38; raise it",
    ),
    "adamw's first step": (
        {"name": "adamw", "learning_rate": 1e38},
        "learning_rate = 1e+38, which adamw's first step divides by 1 − beta1, to 1e+39; float32",
    ),
    "adamw's decay": (
        {"name": "adamw", "learning_rate": 1e30, "weight_decay": 1e30},
        "learning_rate = 1e+30 times weight_decay = 1e+30; float32 holds numbers up to 3.4e+38",
    ),
    "no decay": (
        {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-5},
        "weight_decay = 1e-05; adamw multiplies weights by 1 − 1e-08 at the peak rate, which in float32 is 1: nothing",
    ),
    "decay that underflows": (
        {"name": "adamw", "learning_rate": 1e-30, "weight_decay": 1e-30},
        "weight_decay = 1e-30; adamw multiplies weights by 1 − 1e-60 at the peak rate, which in float32 is 1: nothing",
    ),
}


@pytest.mark.parametrize(("optimiser", "message"), TOGETHER.values(), ids=list(TOGETHER))
def test_numbers_that_only_together_cannot_be_held_are_one_line(optimiser, message):
    with pytest.raises(UserError) as error:
        made(optimiser)
    assert str(error.value).startswith(f"optimiser.{message}") and str(error.value).isprintable()


def test_what_float32_cannot_hold_float64_can():
    for optimiser in ({"learning_rate": 1e39}, {"momentum": 1 - 1e-11}, {"name": "adamw", "epsilon": 1e-60}):
        made(optimiser, "float64")
    made({"name": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-5}, "float64")


@pytest.mark.parametrize("field", ["horizon", "warmup", "reference_batch"])
def test_integers_that_rates_are_computed_from_are_exact_in_float64(field):
    for value in (2**53, 10**400):
        with pytest.raises(UserError, match=f"optimiser.{field} = .* ≤ value ≤ 2\\^53−1"):
            made({field: value, "scaling": "linear"})
    longest = {"horizon": 2**53 - 1} if field == "warmup" else {}
    config = made({**longest, field: 2**53 - 1, "scaling": "linear"})
    assert learning_rates(config.optimiser, 3, 8).isfinite().all()


def test_a_run_of_an_earlier_version_is_still_read():
    tables = resolved(made({"name": "adamw"}))
    tables["optimiser"]["epsilon"] = 1e-60
    assert from_resolved(tables).optimiser.epsilon == 1e-60
    raw = tables_of(tables)
    assert from_tables({"name": "x", **raw}, begun=True).optimiser.epsilon == 1e-60  # as `resume` takes it
    with pytest.raises(UserError, match="epsilon = 1e-60; float32 holds"):
        from_tables({"name": "x", **raw})


LIMITS = [
    (name, field, value)
    for name, own in (("sgd", {"momentum"}), ("lars", {"momentum", "trust"}), ("adamw", {"beta1", "beta2", "epsilon"}))
    for field in ROUNDED
    if OWNERS.get(field.name) is None or field.name in own
    for value in ends(field, "float32")
    if (name, field.name, value) != ("adamw", "weight_decay", 1.2e-38)  # which decays nothing
]


@pytest.mark.parametrize(("name", "field", "value"), LIMITS, ids=lambda value: getattr(value, "name", str(value)))
def test_an_optimiser_steps_at_the_limits_of_every_number(name, field, value):
    """Whatever it gives (infinities are the guard's), no kernel refuses the number."""
    first = {"beta1": 0.0} if (name, field.name) == ("adamw", "learning_rate") else {}  # nothing to divide by
    config = made({"name": name, field.name: value, **first})
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
    state = FlatState(network, torch.float32, torch.device("cpu"))
    state.weights.copy_(torch.linspace(-1, 1, len(state.weights)))
    stepper = Stepper(config.optimiser, state)
    for scale in (1.0, 1e-20):
        state.gradient.copy_(torch.linspace(scale, -scale, len(state.gradient)))
        stepper.step(peak(config.optimiser, config.batches.size))


TAUS = [field for owner in (Train, Arm) for field in dataclasses.fields(owner) if field.name == "temperature"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_temperatures_have_their_own_bounds_in_every_precision(precision):
    assert {field.metadata["bounds"] for field in TAUS} == {(1e-30, 1e30, False, False)}
    for tau in (9e-31, 1.1e30, 1e-40, 1e39, 1e200):
        for sections in ({"train": {"temperature": tau}}, {"arms": {"cl": {"objective": "dcl", "temperature": tau}}}):
            with pytest.raises(UserError, match=r"temperature = .*; 1e-30 ≤ value ≤ 1e\+30"):
                from_tables(tables(**sections, optimiser={}))


@pytest.mark.parametrize("tau", [1e-30, 1e30])
def test_every_objective_is_finite_at_the_limits_of_temperature(tau):
    z = nn.functional.normalize(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    for name in ("dcl", "nt_xent", "nscl", "scl", "homotopy"):
        lam = 1e-320 if name == "homotopy" else None
        assert losses.loss(name, z, torch.tensor([0, 1, 0, 1]), tau, lam=lam).isfinite()
    assert bounds.exponential(1.0, tau, 8) == (math.inf if tau < 1 else 1.0)
    arms = {"cl": {"objective": "dcl", "temperature": tau}, "ns": {"objective": "nscl", "temperature": tau}}
    for rate in (1.2e-38, 3.4e38):
        assert len(vacuities(made({"learning_rate": rate}, arms=arms))) == 1


@pytest.mark.parametrize(
    "sections",
    [
        {"optimiser": {"learning_rate": 3.4e38}},
        {"optimiser": {"name": "lars", "trust": 3.4e38}},
        {"optimiser": {"name": "adamw", "learning_rate": 3.3e37}},
        {"optimiser": {"weight_decay": 3.4e38}, "train": {"precision": "bf16"}},
        {"optimiser": {}, "train": {"temperature": 1e-30}},
    ],
    ids=str,
)
def test_a_run_at_the_limits_trains_or_is_stopped_by_its_guard(tmp_path, sections):
    arms = {"cl": {"objective": "dcl"}}
    short = {**sections, "train": {"steps": 2, **sections.get("train", {})}, "checkpoints": {"keep": {"steps": [0]}}}
    try:
        train(tiny(tmp_path, arms=arms, **short))
    except RunStopped as stopped:
        assert "arm cl has a non-finite" in str(stopped)


def test_a_number_is_found_wherever_it_stands():
    @dataclasses.dataclass(frozen=True)
    class Inner:
        x: float | None = option(1.0, "a number", rounded=True)
        y: float = option(1.0, "another")

    @dataclasses.dataclass(frozen=True)
    class Outer:
        one: Inner = option(Inner(2.0), "a section")
        arms: dict[str, Inner] = option({"a": Inner(3.0), "b": Inner(None)}, "arms")
        z: float = option(4.0, "a number", rounded=True)

    assert {name: value for name, value, _ in _rounded(Outer())} == {"one.x": 2.0, "arms.a.x": 3.0, "z": 4.0}
