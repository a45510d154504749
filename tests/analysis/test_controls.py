"""Controls by the loss in curves, bounds, divergence and words: under which labels, and what is left out and why.

Seen to fail: bounds of a placebo under the true labels, under those of another draw or step, anti taken for an NSCL.
"""

from dataclasses import replace

import numpy as np
import pytest
from helpers import tiny

import analysis
from analysis.bounds import bounds, permuted
from analysis.bounds.checks import violations
from analysis.bounds.drift import BY_ROW
from analysis.cli import main
from analysis.divergence import divergence
from analysis.output.styles import styles
from analysis.report import report
from analysis.runs.controls import control_of, is_ceiling, is_floor, is_twin
from analysis.runs.curve import pick
from analysis.runs.labels import own_labelling, permuted_of
from coupled.config.resolved import Arm, Kicked, Nudged, OtherInputs
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.planning.vacuity import pair_of

pytestmark = [pytest.mark.kernels, pytest.mark.slow]
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "relabelled": {"kind": "placebo", "of": "nscl", "across": "run"},
    "anti": {"kind": "anti", "of": "nscl"},
    "copy": {"kind": "twin", "of": "placebo"},
    "nudged": {"kind": "nudged", "of": "placebo", "scale": 1e-3},
    "inside": {"objective": "nscl", "positive_in_denominator": True},
}
SEEN = ("placebo", "relabelled", "copy", "nudged")  # arms whose loss sees permuted labels


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return analysis.open_run(train(tiny(tmp_path_factory.mktemp("controls"), arms=ARMS)))


@pytest.fixture(scope="module")
def curves(run):
    return analysis.curves(run)


@pytest.fixture(scope="module")
def bounded(run):
    return bounds(run)


def test_gap_and_mass_come_under_the_true_and_under_the_permuted_labels(run, curves):
    for arm in ARMS:
        labellings = [curve.labelling for curve in curves if (curve.measure, curve.arm) == ("gap", arm)]
        assert labellings == (["size", "size, permuted"] if arm in SEEN else ["size"])
    for measure in ("gap", "mass"):
        _, recorded = run.column("scalars", "placebo", f"batch.permuted_{measure}")
        assert np.array_equal(run.curve(measure, arm="placebo").values, recorded)
        _, recorded = run.column("scalars", "placebo", f"batch.{measure}.size")
        assert np.array_equal(run.curve(measure, arm="placebo", labelling="size").values, recorded)
    with pytest.raises(UserError, match="unknown labelling of this run size, permuted"):
        run.curve("gap", arm="nscl", labelling="size, permuted")


def test_the_loss_says_which_losses_and_which_labels_it_is_of(run):
    assert run.curve("loss", arm="anti").estimator == "-1 x (nscl, tau 0.5) +2 x (dcl, tau 0.5)"
    assert run.curve("loss", arm="placebo").labelling == "size, permuted"
    assert run.curve("loss", arm="nscl").labelling == "size"


def test_the_gap_of_a_placebo_is_bounded_under_its_own_labels(run, bounded):
    assert violations(bounded) == []
    for arm in SEEN:
        measured = pick(bounded, "gap", arm, labelling="size, permuted")
        assert measured is not None
        assert np.allclose(measured.values, run.curve("gap", arm=arm).values, rtol=1e-5)
        names = {curve.bound for curve in bounded if curve.bounds(measured)}
        assert names == {"data set", "per anchor", "tighter", "equal similarity"}
        assert pick(bounded, "gap_with_positive", arm, labelling="size, permuted") is not None


def test_how_many_removed_pairs_are_right_by_chance_stands_beside_the_gap(bounded, run):
    (flag,) = pick(bounded, "gap", "placebo", labelling="size, permuted").flags
    counts = [np.bincount(row) for row in run.column("similarity", "shared", "batch.labels.size")[1]]
    share = np.mean([(n * (n - 1)).sum() / (n.sum() * (n.sum() - 1)) for n in counts])
    assert flag == f"permuted labels: {share:.3g} of the pairs of one class are expected to be of one true class too"
    assert pick(bounded, "gap", "placebo", labelling="size").flags == ()


@pytest.mark.parametrize("missing", [True, False])
def test_without_the_data_set_a_relabelled_arm_has_its_recorded_gap_and_the_reason(run, missing, monkeypatch):
    load = permuted.load_split

    def other(config, split):
        if missing:
            raise UserError("shapes", "it is not here")
        return load(replace(config, data=replace(config.data, seed=1)), split)

    monkeypatch.setattr(permuted, "load_split", other)
    again = analysis.open_run(run.path)
    of_arm = [curve for curve in bounds(again) if (curve.arm, curve.source) == ("relabelled", "batch")]
    (gap,) = [curve for curve in of_arm if curve.labelling == "size, permuted"]
    assert gap.flags[0].startswith("no bounds: the labels are those of the data set, permuted; ")
    assert ("it is not here" if missing else "has other labels") in gap.flags[0]
    assert np.array_equal(gap.values, run.curve("gap", arm="relabelled").values)


def test_drift_bounds_are_left_out_with_the_reason(bounded):
    reasons = {arm: pick(bounded, "drift", arm).flags for arm in ("placebo", "relabelled", "anti", "copy", "nudged")}
    for arm in ("placebo", "relabelled", "copy"):
        assert f"{arm} has permuted labels, which the surrogate panel has not" in reasons[arm][0]
    assert "the loss of anti is a difference of two losses, and no NSCL" in reasons["anti"][0]
    assert "nudged does not start where placebo does" in reasons["nudged"][0]
    assert pick(bounded, "drift", "nscl", bound=BY_ROW) is not None


def also(config):
    """A config with kinds of controls that are resolved by hand."""
    like = {"objective": "dcl", "temperature": 0.5, "labelling": "size", "of": "cl", "reference": "cl"}
    return replace(
        config,
        arms={
            **config.arms,
            "late": Nudged(kind="nudged", scale=1e-3, draw=1, at=4, direction="batch", **like),
            "matched": Nudged(kind="nudged", scale="matched", draw=1, at=1, match="nscl", **like),
            "kicked": Kicked(kind="kicked", draw=1, match="nscl", **like),
            "others": OtherInputs(kind="other-inputs", draw=1, **like),
            "views": OtherInputs(kind="other-inputs", draw=1, inputs="views", **like),
            "far": Arm(kind="twin", **like | {"reference": "nscl"}),
        },
    )


@pytest.mark.parametrize(
    ("arm", "reason"),
    [
        ("late", "late is moved by more than its gradient"),
        ("matched", "matched is moved by more than its gradient"),
        ("kicked", "kicked is moved by more than its gradient"),
        ("others", "others and cl do not see the same inputs"),
        ("views", "views and cl do not see the same inputs"),
    ],
)
def test_kinds_that_drift_bounds_are_not_about_say_why(run, arm, reason):
    assert pair_of(also(run.config), arm) == reason


def test_every_kind_of_control_has_a_look_and_words_of_its_own(run):
    looks = styles(also(run.config).arms)
    labels = {name: style.label.partition(": ")[2] for name, style in looks.items()}
    assert (
        labels
        | {
            "placebo": "nscl, labels permuted in every batch",
            "relabelled": "nscl, labels permuted across the data set",
            "anti": "twice the loss of cl less that of nscl",
            "copy": "exact copy of placebo",
            "nudged": "nudge of 0.001 of placebo",
            "late": "nudge of 0.001 of cl at step 4, along another batch's gradient",
            "matched": "matched nudge of cl at step 1, as far as nscl",
            "kicked": "cl, kicked at every step as far as nscl differs",
            "others": "cl on other batches",
            "views": "cl under other views",
            "far": "exact copy of cl, against nscl",
        }
        == labels
    )
    assert len({(style.colour, style.line) for style in looks.values()}) == len(looks)
    assert control_of(run.arms["nscl"]) == ""


def test_only_nudges_of_the_start_are_floors_and_only_other_weights_ceilings(run):
    class Given:
        arms = also(run.config).arms

    floors = {arm for arm in Given.arms if is_floor(Given, arm)}
    assert floors == {"nudged"} and not {arm for arm in Given.arms if is_ceiling(Given, arm)}
    assert {arm for arm in Given.arms if is_twin(Given, arm)} == {"copy"}


def test_divergence_has_a_line_for_every_control_and_limits_of_floors_alone(run):
    curves = divergence(run)
    for arm in ("placebo", "relabelled", "anti"):
        distance = pick(curves, "distance", arm)
        assert distance is not None and distance.reference == "cl" and distance.flags == ()
    limits = {(curve.arm, curve.bound) for curve in curves if curve.kind == "limit"}
    assert limits == set()  # the one nudge is of the placebo, and nothing else is compared with that


def test_the_labels_of_an_arm_are_named(run):
    assert own_labelling(run.arms, "nudged") == "size, permuted" and own_labelling(run.arms, "cl") == "size"
    assert permuted_of(run.arms, "copy") == permuted_of(run.arms, "placebo")
    assert permuted_of(run.arms, "anti") is None


def test_the_report_says_what_each_control_is(run):
    page = report([run]).read_text(encoding="utf-8")
    for words in (
        "placebo: nscl, labels permuted in every batch",
        "anti: twice the loss of cl less that of nscl",
        "size, permuted",
        "labels: size, permuted",
        "which the surrogate panel has not",
        "what it shares with the arm it copies is not about the labels",
    ):
        assert words in page, words


@pytest.mark.parametrize("command", ["curves", "bounds", "divergence", "losses", "alignment", "geometry", "accuracy"])
def test_every_command_takes_every_kind(run, command, capsys):
    few = ["--samples", "64"] if command in ("losses", "alignment", "geometry", "accuracy") else []
    rest = ["--verbose"] if command == "bounds" else []  # controls come after the arms with a loss of their own
    assert main([command, str(run.path), *few, *rest]) == 0
    assert "placebo" in capsys.readouterr().out
