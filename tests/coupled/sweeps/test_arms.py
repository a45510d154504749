"""Axes of an arm become arms of one run."""

import pytest

from coupled.config import from_tables
from coupled.config.traits import traits_of
from coupled.errors import UserError
from coupled.sweeps.arms import expand

CL, NSCL = {"objective": "dcl"}, {"objective": "nscl"}


def spread(arms, **axes):
    """The resolved arms: all that a config says of them fits."""
    return from_tables({"name": "x", "data": {"labelling": "size"}, "arms": expand(arms, axes)}).arms


def references(arms):
    return {name: arm.reference for name, arm in arms.items()}


def test_a_temperature_makes_pairs_as_cl_itself_changes():
    arms = spread({"cl": CL, "nscl": NSCL}, temperature=[0.1, 1.0])
    assert references(arms) == {"cl_0p1": None, "nscl_0p1": "cl_0p1", "cl_1": "cl_0p1", "nscl_1": "cl_1"}
    assert [arm.temperature for arm in arms.values()] == [0.1, 0.1, 1.0, 1.0]


def test_a_labelling_leaves_one_cl():
    arms = spread({"cl": CL, "nscl": NSCL}, labelling=["size", "shape*colour"])
    assert references(arms) == {"cl": None, "nscl_size": "cl", "nscl_shape_colour": "cl"}
    assert arms["nscl_shape_colour"].labelling == "shape*colour"


def test_controls_follow_the_arms_that_they_name():
    arms = {
        "cl": CL,
        "nscl": NSCL,
        "placebo": {"kind": "placebo", "of": "nscl"},
        "kicked": {"kind": "kicked", "match": "nscl"},
        "anti": {"kind": "anti", "of": "nscl"},
        "twin": {"kind": "twin"},
    }
    arms = spread(arms, labelling=["size", "shape"])
    assert list(arms) == [
        "cl", "twin", "nscl_size", "placebo_size", "kicked_size", "anti_size", "nscl_shape", "placebo_shape",
        "kicked_shape", "anti_shape",
    ]  # fmt: skip
    assert (arms["placebo_shape"].of, arms["placebo_shape"].reference) == ("nscl_shape", "cl")
    assert (arms["kicked_shape"].match, arms["kicked_shape"].of, arms["twin"].of) == ("nscl_shape", "cl", "cl")
    assert arms["anti_shape"].against == "cl"


def test_controls_of_the_first_arm_follow_its_temperature():
    arms = spread({"cl": CL, "twin": {"kind": "twin"}, "ce": {"objective": "ce"}}, temperature=[0.1, 0.5])
    assert references(arms) == {
        "cl_0p1": None, "twin_0p1": "cl_0p1", "cl_0p5": "cl_0p1", "twin_0p5": "cl_0p5", "ce": "cl_0p1",
    }  # fmt: skip
    assert traits_of(arms, "twin_0p5").terms[0].temperature == 0.5


def test_two_axes_of_arms_are_every_pair():
    arms = spread({"cl": CL, "nscl": NSCL}, temperature=[0.1, 0.5], labelling=["size", "shape"])
    assert references(arms) == {
        "cl_0p1": None, "cl_0p5": "cl_0p1", "nscl_0p1_size": "cl_0p1", "nscl_0p5_size": "cl_0p5",
        "nscl_0p1_shape": "cl_0p1", "nscl_0p5_shape": "cl_0p5",
    }  # fmt: skip


def test_an_objective_is_that_of_the_arm_beside_the_first():
    arms = spread({"cl": CL, "other": NSCL, "placebo": {"kind": "placebo", "of": "other"}}, objective=["nscl", "scl"])
    assert {name: arm.objective for name, arm in arms.items()} == {
        "cl": "dcl", "nscl": "nscl", "placebo_nscl": "nscl", "scl": "scl", "placebo_scl": "scl",
    }  # fmt: skip


def test_lambda_and_scale_are_of_the_arms_that_take_them():
    homotopy = {"objective": "homotopy", "lam": 0.5}
    arms = spread({"cl": CL, "h": homotopy, "n": {"kind": "nudged"}}, lam=[0, 0.25], scale=["ulp", 1e-4])
    assert list(arms) == ["cl", "h_0", "h_0p25", "n_ulp", "n_0p0001"]
    assert (arms["h_0p25"].lam, arms["n_0p0001"].scale) == (0.25, 1e-4)


def test_an_axis_may_name_its_arm():
    arms = spread({"cl": CL, "a": NSCL, "b": NSCL}, **{"arms.b.labelling": ["size", "shape"]})
    assert references(arms) == {"cl": None, "a": "cl", "b_size": "cl", "b_shape": "cl"}


def test_an_arm_that_is_compared_with_several_is_compared_with_the_first():
    arms = spread({"cl": CL, "nscl": NSCL, "x": {**CL, "reference": "nscl"}}, labelling=["size", "shape"])
    assert references(arms)["x"] == "nscl_size"


@pytest.mark.parametrize(
    ("arms", "axes", "message"),
    [
        ({"cl": CL}, {"lam": [0, 1]}, "axis lam; no arm of the base takes it"),
        ({"cl": CL}, {"arms.nscl.labelling": ["size"]}, "axis arms.nscl.labelling; an arm of the base: cl"),
        ({"cl": CL, "a": NSCL, "b": NSCL}, {"objective": ["scl"]}, "axis objective; it may be that of a, b"),
        ({"cl": CL, "a": NSCL, "scl": NSCL}, {"arms.a.objective": ["scl"]}, "two arms are called scl"),
        ({"cl": CL, "a": NSCL}, {"labelling": ["size*shape", "size shape"]}, "two arms are called a_size_shape"),
    ],
)
def test_axes_that_make_no_arms_are_errors(arms, axes, message):
    with pytest.raises(UserError, match=message):
        expand(arms, axes)
