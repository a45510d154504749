"""Kinds of controls: what each takes, what it copies, which arms it may be a control of."""

import pytest
from helpers import tables

from coupled.config import digest, from_tables
from coupled.config.controls import OWN_FIELDS_OF
from coupled.config.identity import resolved
from coupled.config.traits import Inputs, Nudge, Permuted, Term, other_inputs, own_inputs, traits_of
from coupled.errors import UserError
from coupled.objectives.registry import Objective

CL_AND_NSCL = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}


def arms_of(**controls):
    return from_tables(tables(arms={**CL_AND_NSCL, **controls})).arms


def test_a_control_of_a_control_has_the_traits_of_both():
    arms = arms_of(
        placebo={"kind": "placebo", "of": "nscl", "draw": 3},
        twin={"kind": "twin", "of": "placebo"},
        nudged={"kind": "nudged", "of": "twin", "scale": 1e-3},
        both={"kind": "independent", "of": "nudged"},
    )
    traits = traits_of(arms, "both")
    assert traits.terms == (Term(1.0, Objective("nscl"), Permuted("size", "batch", 3), 0.5),)
    assert (traits.start, traits.nudges) == (1, (Nudge(1e-3, 1, 0, "random", None),))
    assert traits_of(arms, "twin") == traits_of(arms, "placebo") != traits_of(arms, "nscl")


def test_controls_may_stand_before_what_they_copy():
    arms = arms_of(twin={"kind": "twin", "of": "late"}, late={"kind": "placebo", "of": "nscl"})
    assert list(arms) == ["cl", "nscl", "twin", "late"]
    assert traits_of(arms, "twin") == traits_of(arms, "late")


@pytest.mark.parametrize(
    ("arm", "reference"),
    [
        ({"kind": "placebo", "of": "nscl"}, "cl"),
        ({"kind": "anti", "of": "nscl"}, "cl"),
        ({"kind": "twin", "of": "nscl"}, "nscl"),
        ({"kind": "nudged", "of": "nscl"}, "nscl"),
        ({"kind": "placebo", "of": "nscl", "reference": "nscl"}, "nscl"),
    ],
)
def test_placebo_and_anti_are_compared_with_the_reference_of_what_they_copy(arm, reference):
    assert arms_of(x=arm)["x"].reference == reference


def test_a_placebo_of_the_first_arm_is_compared_with_it():
    config = from_tables(tables(arms={"nscl": {"objective": "nscl"}, "placebo": {"kind": "placebo"}}))
    assert config.arms["placebo"].reference == "nscl"


def test_an_anti_arm_minimises_twice_the_one_loss_less_the_other():
    arms = arms_of(anti={"kind": "anti", "of": "nscl"}, back={"kind": "anti", "of": "cl", "against": "nscl"})
    weights = [(term.weight, term.objective.name) for term in traits_of(arms, "anti").terms]
    assert weights == [(-1.0, "nscl"), (2.0, "dcl")]
    assert [(term.weight, term.objective.name) for term in traits_of(arms, "back").terms] == [
        (-1.0, "dcl"),
        (2.0, "nscl"),
    ]


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"a": {"against": "b"}, "b": {"against": "a"}}, "an anti arm already"),
        ({"p": {"kind": "placebo", "of": "a"}, "a": {"against": "a"}}, "another arm"),
        ({"o": {"kind": "other-inputs", "of": "a"}, "a": {"against": "foo"}}, "another arm"),
        ({"a": {"against": "t"}, "t": {"kind": "twin", "of": "a"}}, "an anti arm already"),
    ],
)
def test_anti_arms_that_go_in_circles_are_one_line(arms, message):
    with pytest.raises(UserError, match=message):
        arms_of(**{name: {"kind": "anti", "of": "nscl", **arm} for name, arm in arms.items()})


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"kind": "twin", "of": "x"}, "another arm"),
        ({"kind": "twin", "of": "y"}, "x of y of x: a circle"),
        ({"kind": "placebo"}, "takes no labels to permute"),
        ({"kind": "placebo", "of": "p"}, "permuted already"),
        ({"kind": "placebo", "of": "nscl", "across": "epoch"}, "one of batch, run"),
        ({"kind": "placebo", "of": "nscl", "scale": 0.1}, "only kind = nudged takes it"),
        ({"kind": "anti"}, "no reference to reverse its difference from"),
        ({"kind": "anti", "of": "ce"}, "ce is no function of Σ"),
        ({"kind": "anti", "of": "nscl", "against": "ce"}, "ce is no function of Σ"),
        ({"kind": "anti", "of": "nscl", "against": "x"}, "another arm"),
        ({"kind": "anti", "of": "a"}, "an anti arm already"),
        ({"kind": "nudged", "scale": "matched"}, "it needs the arm to match"),
        ({"kind": "nudged", "match": "nscl"}, "only scale = \"matched\" takes it"),
        ({"kind": "nudged", "scale": "matched", "match": "nscl", "at": 2}, "at step 1"),
        ({"kind": "nudged", "scale": "matched", "match": "t"}, "after step 1 it is where cl is"),
        ({"kind": "nudged", "scale": "matched", "match": "k"}, "after step 1 it is where cl is"),
        ({"kind": "nudged", "direction": "batch", "scale": 0.1}, "step 1 or later"),
        ({"kind": "nudged", "direction": "batch", "at": 2}, "a number above 0"),
        ({"kind": "kicked"}, "such as match"),
        ({"kind": "other-inputs", "draw": 2**23}, "1 to 8388607 for other inputs"),
        ({"kind": "other-inputs", "inputs": "labels"}, "one of batches, views"),
        ({"kind": "other-inputs", "of": "o"}, "other inputs already"),
        ({"kind": "anti", "of": "nscl", "draw": 2}, "only kind = nudged or independent or placebo or kicked"),
    ],
)  # fmt: skip
def test_a_control_that_does_not_fit_is_one_line(arm, message):
    others = {
        "y": {"kind": "twin", "of": "x"},
        "p": {"kind": "placebo", "of": "nscl"},
        "a": {"kind": "anti", "of": "nscl"},
        "o": {"kind": "other-inputs", "of": "nscl"},
        "ce": {"objective": "ce"},
        "t": {"kind": "twin"},
        "k": {"kind": "kicked", "match": "nscl"},
    }
    if arm["kind"] == "twin" and arm["of"] == "x":
        del others["y"]
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        arms_of(x=arm, **others)


def test_a_relabelled_data_set_needs_a_uniform_stream():
    arms = {**CL_AND_NSCL, "p": {"kind": "placebo", "of": "nscl", "across": "run"}}
    assert from_tables(tables(arms=arms)).arms["p"]
    with pytest.raises(UserError, match="balanced draws batches by the true labels"):
        from_tables(tables(arms=arms, batches={"size": 8, "stream": "balanced"}))


def test_what_came_later_is_left_out_of_a_resolved_config_at_its_default():
    config = from_tables(tables(arms={**CL_AND_NSCL, "nudged": {"kind": "nudged", "at": 0, "direction": "random"}}))
    (nudged,) = (arm for arm in resolved(config)["arms"] if arm["name"] == "nudged")
    assert not {"at", "direction", "match", "across", "inputs", "against"} & set(nudged)
    assert digest(config) == digest(from_tables(tables(arms={**CL_AND_NSCL, "nudged": {"kind": "nudged"}})))


def test_other_inputs_are_told_by_kind_and_draw_and_a_twin_shares_them():
    arms = arms_of(
        x={"kind": "other-inputs"},
        v={"kind": "other-inputs", "of": "nscl", "inputs": "views", "draw": 2},
        t={"kind": "twin", "of": "v"},
    )
    assert own_inputs(arms) == {Inputs("batches", 1): ["x"], Inputs("views", 2): ["v", "t"]}
    assert other_inputs(arms, "t", "v") == other_inputs(arms, "nscl", "cl") == ""
    assert other_inputs(arms, "v", "cl") == "v sees other views (draw 2) and cl sees the shared inputs"
    assert [arms[name].reference for name in ("x", "v", "t")] == ["cl", "nscl", "v"]


def test_every_kind_of_control_is_filled_in():
    assert set(OWN_FIELDS_OF) == {"twin", "nudged", "independent", "placebo", "kicked", "anti", "other-inputs"}
    assert Inputs("views", 2) != Inputs("batches", 2)
