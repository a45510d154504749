import math

import pytest
import torch

from coupled.errors import UserError
from coupled.objectives import registry
from coupled.objectives.losses import evaluate, loss, pair_masks, per_anchor, similarity
from coupled.objectives.registry import OBJECTIVES, Objective

pytestmark = pytest.mark.kernels
DCL = Objective("dcl")
BUILT_IN = [
    *(Objective(name) for name in ("dcl", "nt_xent", "nscl", "scl", "ce")),
    *(Objective("homotopy", flag, lam) for flag in (False, True) for lam in (0.0, 0.3, 1)),
    Objective("nscl", positive_in_denominator=True),
]


def unit_rows(seed, rows, d):
    z = torch.randn(rows, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return z / z.norm(dim=1, keepdim=True)


def test_the_names_are_these():
    assert [*OBJECTIVES] == registry.known() == ["dcl", "nt_xent", "nscl", "homotopy", "scl", "ce"]
    assert [name for name in OBJECTIVES if name not in registry.NEEDS_LABELS] == ["dcl", "nt_xent"]
    assert [name for name in OBJECTIVES if not registry.is_function_of_sigma(name)] == ["ce"]
    holding = [o for o in BUILT_IN if registry.positive_gap(o)]
    assert holding == [o for o in BUILT_IN if o.name == "nt_xent" or o.positive_in_denominator]


@pytest.fixture
def _no_registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


def own_dcl(sigma, labels, temperature):
    sigma.fill_diagonal_(0)
    labels.zero_()
    return per_anchor(DCL, sigma, pair_masks(torch.arange(len(sigma) // 2)), temperature)


@pytest.mark.usefixtures("_no_registered")
@pytest.mark.parametrize("function", [own_dcl, lambda *given: own_dcl(*given).mean()])
def test_a_registered_objective_works_like_a_built_in_one(function):
    registry.register_objective("mine")(function)
    z, labels, mine = unit_rows(20, 10, 3).requires_grad_(), torch.tensor([0, 1, 0, 1, 2]), Objective("mine")
    ours, wanted = loss("mine", z, labels, 0.5), loss("dcl", z, None, 0.5)
    # A sum of ten losses, each at most 2/τ + log 8 < 7, in another order or through other operations: thirty roundings
    # of numbers below 8, at most, in the mean.
    rounding = 30 * 8 * 2**-53
    assert abs(ours - wanted) < rounding
    assert (torch.autograd.grad(ours, z)[0] - torch.autograd.grad(wanted, z)[0]).abs().max() < rounding
    evaluated = evaluate(similarity(z.detach()), pair_masks(labels), 0.5, [mine, DCL]).losses
    assert evaluated[mine].dtype == torch.float64 and abs(evaluated[mine] - evaluated[DCL]) < rounding


@pytest.mark.usefixtures("_no_registered")
def test_a_registered_objective_gets_labels_and_cannot_write_into_anything():
    registry.register_objective("mine")(own_dcl)
    labels, sigma = torch.tensor([3, 1, 3]), similarity(unit_rows(21, 6, 3))
    masks, before = pair_masks(labels), sigma.clone()
    assert per_anchor(Objective("mine"), sigma, masks, 0.5).shape == (6,)
    assert torch.equal(sigma, before) and masks.labels.tolist() == [3, 1, 3]


@pytest.mark.usefixtures("_no_registered")
def test_evaluation_calls_a_registered_objective_once_with_the_labels_and_without_gradient():
    seen = []
    registry.register_objective("mine")(lambda *given: (seen.append(given), given[0].mean())[1])
    sigma, mine = similarity(unit_rows(22, 4, 3)).requires_grad_(), Objective("mine")
    value = evaluate(sigma, pair_masks(torch.tensor([5, 7])), 0.25, [mine, mine]).losses[mine]
    ((given, labels, temperature),) = seen
    assert torch.equal(given, sigma) and labels.tolist() == [5, 7] and temperature == 0.25
    assert not value.requires_grad
    assert registry.known() == [*OBJECTIVES, "mine"] and "mine" not in registry.known(built_in=True)


@pytest.mark.usefixtures("_no_registered")
@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda s: s[:4, 0], r"objective mine returned torch.float64 \(4,\); losses \(8,\), or their mean, 0-d"),
        (lambda s: s.sum(1, keepdim=True), r"mine returned torch.float64 \(8, 1\)"),
        (lambda s: s.argmax(1), r"mine returned torch.int64 \(8,\)"),
        (lambda s: 1.0, "mine returned float; losses"),
        (lambda s: s.detach().sum(), "mine returned a value without gradient; it must be differentiable in sigma"),
    ],
)
def test_a_registered_objective_that_returns_something_else_is_one_line(returned, message):
    registry.register_objective("mine")(lambda sigma, labels, temperature: returned(sigma))
    with pytest.raises(UserError, match=message):
        loss("mine", unit_rows(21, 8, 3).requires_grad_(), torch.arange(4), 0.5)


@pytest.mark.usefixtures("_no_registered")
def test_a_name_is_taken_but_for_the_file_that_took_it():
    elsewhere = compile("register(name)(function)", "elsewhere.py", "exec")
    registry.register_objective("mine")(own_dcl)
    registry.register_objective("mine")(lambda sigma, labels, temperature: sigma.sum())
    for name, message in [("mine", "it is taken"), ("dcl", "it is taken"), ("a b", "letters, digits"), ("", "letters")]:
        with pytest.raises(UserError, match=message):
            exec(elsewhere, {"register": registry.register_objective, "name": name, "function": own_dcl})
    assert loss("mine", unit_rows(22, 4, 2), torch.arange(2), 1.0).isfinite()


@pytest.mark.usefixtures("_no_registered")
def test_the_cells_of_a_notebook_are_one_place():
    for cell in ("one.py", "two.py"):
        code = compile("register('mine')(function)", cell, "exec")
        exec(code, {"__name__": "__main__", "register": registry.register_objective, "function": own_dcl})
    assert registry.known() == [*OBJECTIVES, "mine"]


Z, Y = torch.ones(4, 2), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("nt_xnt", Z, Y, 0.5), {}, "unknown objective nt_xnt; allowed: dcl, nt_xent, .*; did you mean nt_xent"),
        (("ce", Z, Y, 0.5), {}, 'objective ce; it is not a function of .*kind = "objective".*classifier head'),
        (("dcl", Z, Y, 0.5), {"positive_in_denominator": True}, 'only nscl and homotopy.*objective = "nt_xent"'),
        (
            ("nt_xent", Z, Y, 0.5),
            {"positive_in_denominator": True},
            "only nscl and homotopy.*in its denominator already",
        ),
        (("scl", Z, Y, 0.5), {"positive_in_denominator": True}, "positive_in_denominator for scl; only .*; remove it"),
        (("nscl", Z, Y, 0.5), {"lam": 0.5}, "lam = 0.5 for nscl; only homotopy takes it; remove it"),
        (("dcl", Z, Y, 0.5), {"lam": 0.0}, "lam = 0.0 for dcl; only homotopy takes it"),
        (("homotopy", Z, Y, 0.5), {}, "lam is missing; homotopy needs 0 ≤ lam ≤ 1"),
        (("homotopy", Z, Y, 0.5), {"lam": -0.1}, "lam = -0.1; a number with 0 ≤ lam ≤ 1"),
        (("homotopy", Z, Y, 0.5), {"lam": 1.1}, "lam = 1.1; a number"),
        (("homotopy", Z, Y, 0.5), {"lam": math.nan}, "lam = nan; a number"),
        (("homotopy", Z, Y, 0.5), {"lam": True}, "lam = True; a number"),
        (("dcl", torch.ones(2, 2), Y[:1], 0.5), {}, "B ≥ 2"),
        (("dcl", torch.ones(5, 2), Y, 0.5), {}, r"floats \(2B, d\)"),
        (("dcl", Z.long(), Y, 0.5), {}, "torch.int64; floats"),
        (("nscl", Z, None, 0.5), {}, r"labels for nscl: None; \(2,\) integers are needed"),
        (("scl", Z, torch.zeros(3), 0.5), {}, r"labels for scl: \(3,\) .*\(2,\) integers are needed"),
        (("nscl", Z, torch.zeros(2), 0.5), {}, r"\(2,\) of torch.float32; \(2,\) integers are needed"),
        (("dcl", Z, None, 0.0), {}, "a positive finite number"),
        (("dcl", Z, None, math.nan), {}, "a positive finite number"),
    ],
)
def test_a_wrong_call_is_one_line(arguments, options, message):
    with pytest.raises(UserError, match=message):
        loss(*arguments, **options)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Objective("sclx"), "unknown arms.x.objective sclx"),
        (Objective("homotopy"), "arms.x.lam is missing"),
        (Objective("homotopy", lam=2.0), "arms.x.lam = 2.0"),
        (Objective("ce", lam=0.5), "arms.x.lam = 0.5 for ce"),
        (Objective("dcl", True), "arms.x.positive_in_denominator for dcl"),
    ],
)
def test_a_wrong_objective_of_a_config_names_its_key(objective, message):
    with pytest.raises(UserError, match=message):
        registry.validate(objective, "arms.x.")


@pytest.mark.parametrize("objective", BUILT_IN, ids=str)
def test_a_right_objective_is_valid(objective):
    registry.validate(objective, "arms.x.")
