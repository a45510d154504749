"""The numbers of a sweep: means, gaps, amounts and contrasts against literal ones."""

import csv
import math
import re

import pytest
from made_sweeps import ARMS, by_classes, member, run_of, swept_of, waiting

from analysis.aggregation.gap import Gap
from analysis.aggregation.seeds import Contrast
from analysis.sweeps import sections, table, wording
from analysis.sweeps.numbers import MATCHES, Number, numbers_of

T_OF_TWO = 4.302652729749464  # Student's t, two degrees of freedom, .975


def row(numbers, point, arm, quantity, match="step"):
    (found,) = [
        one
        for one in numbers.rows
        if (one.point.name, one.arm, one.quantity, one.match) == (point, arm, quantity, match)
    ]
    return found


def test_a_number_is_the_mean_over_seeds_with_its_t_interval(tmp_path):
    numbers = numbers_of(by_classes(tmp_path, {2: 0.2, 4: 0.4}))
    found = row(numbers, "classes = 4", "nscl", "cka")
    assert found.amount == 10 and found.number.known == pytest.approx([0.6, 0.59, 0.58])
    half = T_OF_TWO * 0.01 / math.sqrt(3)
    assert (found.number.value, *found.number.interval) == pytest.approx((0.59, 0.59 - half, 0.59 + half))
    assert (found.motion.value, found.similarity_motion.value) == pytest.approx((10, 0.5))
    assert wording.cell(found.number) == "0.590 (0.565 – 0.615)"
    # A loss gap is of a batch, and the last state has none.
    assert row(numbers, "classes = 4", "cl", "gap").amount == 9
    assert not [one for one in numbers.rows if one.arm == "cl" and one.quantity == "cka"]
    assert numbers.quantities == ["cka", "rsa", "weight_gap", "gap"]


def test_all_are_compared_where_the_shortest_finished_run_ends(tmp_path):
    long = [member(run_of(tmp_path, f"l{s}", s, steps=20), {"nscl": 0.1}, per_epoch=10) for s in range(3)]
    short = [member(run_of(tmp_path, f"s{s}", s, steps=10), {"nscl": 0.1}, per_epoch=4) for s in range(3)]
    points = [({"batch_size": [8]}, long), ({"batch_size": [16]}, short)]
    numbers = numbers_of(swept_of(tmp_path, points, axes={"batch_size": [8, 16]}))
    amounts = {match: row(numbers, "batch_size = 8", "nscl", "weight_gap", match).amount for match in MATCHES}
    # 20 steps are two epochs of ten, ten steps are two and a half of four.
    assert amounts == pytest.approx({"step": 10, "epoch": 2, "rate": 1, "motion": 10, "loss": 0})
    of_short = row(numbers, "batch_size = 16", "nscl", "weight_gap", "epoch").number
    assert of_short.value == pytest.approx(0.1 * 8)


def test_an_unfinished_run_is_a_gap_with_its_reason_and_moves_no_amount(tmp_path):
    members = [
        *(member(run_of(tmp_path, f"s{s}", s), {"nscl": 0.1 * s}) for s in range(3)),
        member(run_of(tmp_path, "s3", 3, last=4), {"nscl": 0.3}),
        waiting(tmp_path, "s4", 4),
    ]
    swept = swept_of(tmp_path, [({}, members)])
    numbers = numbers_of(swept)
    found = row(numbers, "", "nscl", "cka")
    assert found.amount == 10 and len(found.number.known) == 3 and len(found.number.by_seed) == 5
    assert found.number.reasons == [
        "seed 3: never gets there: step 4 at step 4, the last recorded, not 10 (unfinished: 4 of 10 steps)",
        "seed 4: s4 has not begun",
    ]
    said = wording.swept_words(swept)
    assert said.endswith("1 point, 5 runs, 3 finished, 1 unfinished (s3: 4 of 10 steps), 1 not begun (s4).")
    html = sections.summary(swept, numbers)
    (note,) = set(re.findall(r'0\.900 <span class="whole">\(0\.652 – 1\.148\)</span> (\[\d\])', html))
    assert f"<li>{note} {'; '.join(found.number.reasons)}.</li>" in html


def test_where_nothing_is_finished_the_amount_is_that_of_all_that_began(tmp_path):
    members = [member(run_of(tmp_path, f"s{s}", s, last=4 + s), {"nscl": 0.1}) for s in range(3)]
    assert row(numbers_of(swept_of(tmp_path, [({}, members)])), "", "nscl", "weight_gap").amount == 4


def test_two_seeds_are_two_values_without_an_interval(tmp_path):
    swept = by_classes(tmp_path, {2: 0.2, 4: 0.4}, seeds=2)
    numbers = numbers_of(swept)
    found = row(numbers, "classes = 2", "nscl", "cka").number
    assert isinstance(found.mean, Gap) and wording.cell(found) == "0.800, 0.790"
    assert found.value == pytest.approx(0.795) and all(map(math.isnan, found.interval))
    html = sections.summary(swept, numbers)
    assert "0.800, 0.790" in html and "Of fewer than three seeds the values stand, without an interval" in html
    assert "No differences within seeds: 2 of 2 seeds have a value, 3 are needed." in html


def test_what_never_gets_there_is_a_gap_and_no_number(tmp_path):
    near = [member(run_of(tmp_path, f"n{s}", s), {"nscl": 0.1}) for s in range(3)]
    for one in near:  # they move no further than 2 by step 10
        one.summary.tensors["motion.nscl.values"][:] /= 5
    far = [member(run_of(tmp_path, f"f{s}", s, last=1), {"nscl": 0.1}) for s in range(3)]
    swept = swept_of(tmp_path, [({"lr": [1]}, near), ({"lr": [2]}, far)], axes={"lr": [1, 2]})
    numbers = numbers_of(swept)
    assert row(numbers, "lr = 1", "nscl", "cka", "motion").amount == 2
    found = row(numbers, "lr = 2", "nscl", "cka", "motion").number
    assert found.known == [] and "never gets there: distance from the start 1 at step 1" in found.reasons[0]
    assert "none [" in sections.summary(swept, numbers)


def test_own_losses_are_compared_within_a_family_alone(tmp_path):
    def member_of(seed):
        run = run_of(tmp_path, f"s{seed}", seed)
        made = member(run, {"nscl": 0.1})
        made.summary.tensors["loss.placebo.values"][:] += 100
        return made

    numbers = numbers_of(swept_of(tmp_path, [({}, [member_of(seed) for seed in range(3)])]))
    assert row(numbers, "", "nscl", "cka", "loss").amount == 0
    assert row(numbers, "", "placebo", "cka", "loss").amount == 100
    assert {one.match for one in numbers.differences} == {"step", "epoch", "rate", "motion"}


def test_an_arm_is_told_from_its_placebo_seed_by_seed(tmp_path):
    numbers = numbers_of(by_classes(tmp_path, {2: 0.2}))
    (found,) = [o for o in numbers.differences if (o.arm, o.quantity, o.match) == ("nscl", "weight_gap", "step")]
    assert found.against == "placebo" and isinstance(found.contrast, Contrast)
    # Levels of nscl .20 .21 .22, of the placebo .30 .31 .34, times 10 steps.
    assert list(found.contrast.by_seed.values()) == pytest.approx([-1.0, -1.0, -1.2])
    variances = [0.01, 0.13 / 3, 0.04 / 3]  # of nscl, the placebo and their difference
    assert found.contrast.variance_ratio == pytest.approx((variances[0] + variances[1]) / variances[2])


def test_supervised_arms_are_told_from_the_first_of_their_reference(tmp_path):
    arms = {**ARMS, "scl": {"objective": "scl"}}
    members = [member(run_of(tmp_path, f"s{s}", s, arms=arms), {"scl": 0.1}) for s in range(3)]
    pairs = {(one.arm, one.against) for one in numbers_of(swept_of(tmp_path, [({}, members)])).differences}
    assert pairs == {("nscl", "placebo"), ("scl", "nscl")}


def test_the_csv_has_every_number_at_full_precision(tmp_path):
    swept = by_classes(tmp_path, {2: 0.2, 4: 0.4})
    numbers = numbers_of(swept)
    with table.write(swept, numbers).open(newline="") as file:
        lines = list(csv.DictReader(file))
    wanted = {"match": "step", "classes": "4", "arm": "nscl", "quantity": "cka", "against": ""}
    (line,) = [one for one in lines if wanted.items() <= one.items()]
    found = row(numbers, "classes = 4", "nscl", "cka").number
    assert (line["n"], line["amount"], line["mean"]) == ("3", "10.0", repr(found.value))
    assert line["values"].split() == [repr(value) for value in found.known] and line["seeds"] == "0 1 2"
    assert (line["low"], line["high"]) == tuple(map(repr, found.interval)) and line["note"] == ""
    (line,) = [one for one in lines if {**wanted, "against": "placebo", "quantity": "rsa"}.items() <= one.items()]
    (apart,) = [o for o in numbers.differences if (o.match, o.point.name, o.quantity) == ("step", "classes = 4", "rsa")]
    assert line["mean"] == repr(Number(apart.contrast.by_seed).value) and len(line["mean"]) > 15
    assert line["variance_ratio"] == repr(apart.contrast.variance_ratio)
    assert len([one for one in lines if one["against"] == "placebo" and one["match"] == "step"]) == 8
    assert all((one["mean"] == "") <= (one["note"] != "") for one in lines)
