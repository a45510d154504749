"""Axes, curves, map and page of a sweep made of numbers."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from helpers import tables
from made_sweeps import ARMS, by_classes, member, run_of, swept_of
from plotly import graph_objects

from analysis.aggregation.seeds import mean
from analysis.claims import Finding, table
from analysis.claims.rules import rules
from analysis.claims.verdicts import Verdict, undecided
from analysis.sweeps import charts, curves, figure, heat_map
from analysis.sweeps.arms import Placed, family_styles, placed
from analysis.sweeps.axes import axes_of, lines, once, scale_of
from analysis.sweeps.numbers import MATCHES, numbers_of
from analysis.sweeps.page import page
from coupled.config import from_tables
from coupled.errors import UserError
from coupled.sweeps.arms import expand


def styled(swept):
    return family_styles(swept.arms, swept.placed)


def of_axis(swept, axis, quantity="cka"):
    return charts.against(swept, numbers_of(swept), styled(swept), axis, quantity, id="x")


def trace(chart, arm, match="step", choice=None):
    (found,) = [t for t in chart.data if t["meta"] == {"arm": arm, "choice": choice, "match": match}]
    return found


def test_arms_are_placed_by_name_and_value_of_their_config():
    axes = {"labelling": ["shape", "shape*colour"], "temperature": [0.5, 1.0]}
    arms = from_tables(tables(arms=expand({**ARMS, "ce": {"objective": "ce"}}, axes))).arms
    places = placed(arms, axes)
    assert places["cl_0p5"] == Placed("cl", {"temperature": 0.5})
    assert places["nscl_shape_colour_1"] == Placed("nscl", {"labelling": "shape*colour", "temperature": 1.0})
    assert places["placebo_shape_0p5"] == Placed("placebo", {"labelling": "shape", "temperature": 0.5})
    assert places["ce_shape"] == Placed("ce", {"labelling": "shape"})  # a temperature is nothing to it
    # A name alone makes no copy: this arm's temperature is another.
    assert placed({"cl_1": arms["cl_0p5"]}, axes) == {"cl_1": Placed("cl_1", {})}
    styles = family_styles(arms, places)
    assert list(styles) == ["cl", "nscl", "placebo", "nudged", "ce"] or set(styles) == {
        "cl", "nscl", "placebo", "nudged", "ce"
    }  # fmt: skip
    assert styles["nudged"].label == "nudged: one-ulp nudge of cl (the floor)" and styles["placebo"].line == "--"


def test_an_axis_of_objectives_makes_one_family():
    axes = {"objective": ["nscl", "scl"]}
    arms = from_tables(tables(arms=expand({"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}, axes))).arms
    families = {name: place.family for name, place in placed(arms, axes).items()}
    assert families == {"cl": "cl", "nscl": "objective", "scl": "objective"}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([2, 4, 8], "linear"), ([1, 10], "log"), ([0, 100], "linear"), ([0.1, 0.5, 1.0], "log"),
        (["a", "b"], "category"), ([1, 1.0], "category"), ([True, False], "category"), ([1, 10**400], "category"),
        ([1, math.inf], "category"), ([1, [2]], "category"), ([None, 1], "category"),
    ],
)  # fmt: skip
def test_numbers_are_on_a_linear_or_logarithmic_axis_and_all_else_are_categories(tmp_path, values, kind):
    points = [({"x": [value]}, []) for value in values]
    scale = scale_of(swept_of(tmp_path, points, axes={"x": values}), "x")
    assert scale.kind == kind and len(set(scale.names)) == len(scale.places) == len(values)


def test_a_chart_of_an_axis_has_each_arm_with_its_interval_at_every_match(tmp_path):
    swept = by_classes(tmp_path, {2: 0.2, 4: 0.4, 8: 0.8})
    chart = of_axis(swept, "classes")
    found = trace(chart, "nscl")
    assert found["x"] == [2, 4, 8] and found["y"] == pytest.approx([0.79, 0.59, 0.19])
    half = mean({seed: 0.59 + seed / 100 for seed in (-1, 0, 1)})
    assert found["error_y"]["array"] == pytest.approx([half.high - half.value] * 3, rel=1e-5)
    assert {t["meta"]["match"] for t in chart.data} == set(MATCHES)
    assert {t["name"] for t in chart.data} == {"nscl", "placebo", "nudged"}
    assert chart.matched["step"] == ", at step 10" and chart.matched["epoch"] == ", at epoch 2.000"
    assert "nscl, to cl: 0.590 (" in found["text"][1] and "weights moved 10, Σ 0.500" in found["text"][1]
    assert graph_objects.Figure(data=chart.data, layout=chart.layout).data


def test_a_point_of_several_values_stands_at_each_and_other_axes_have_a_menu(tmp_path):
    def members(name, level):
        return [member(run_of(tmp_path, f"{name}{s}", s), {"nscl": level}) for s in range(3)]

    points = [
        ({"B": [8], "rule": ["constant"]}, members("a", 0.1)), ({"B": [8], "rule": ["linear"]}, members("b", 0.2)),
        ({"B": [16], "rule": ["constant", "linear"]}, members("c", 0.3)),
    ]  # fmt: skip
    swept = swept_of(tmp_path, points, axes={"B": [8, 16], "rule": ["constant", "linear"]})
    chart = of_axis(swept, "B")
    assert chart.choices == ("all", "rule = constant", "rule = linear")
    assert trace(chart, "nscl", choice="rule = constant")["y"] == pytest.approx([0.9, 0.7])
    assert trace(chart, "nscl", choice="rule = linear")["y"] == pytest.approx([0.8, 0.7])
    whole = [t for t in chart.data if t["meta"] == {"arm": "nscl", "choice": "all", "match": "step"}]
    assert {t["marker"]["symbol"] for t in whole} == {"circle", "square"}


def test_an_axis_that_goes_with_another_has_no_chart_and_parts_no_line(tmp_path):
    """As a warm-up that is set for each batch size."""
    points = [
        ({"batch_size": [size], "optimiser.warmup": [warmup]}, [member(run_of(tmp_path, f"b{size}"), {"nscl": 0.1})])
        for size, warmup in ((8, 4), (16, 2), (32, 1))
    ]
    swept = swept_of(tmp_path, points, axes={"batch_size": [8, 16, 32], "optimiser.warmup": [4, 2, 1]})
    assert axes_of(swept) == ["batch_size"]
    rows = [row for row in numbers_of(swept).rows if (row.match, row.quantity, row.arm) == ("step", "cka", "nscl")]
    (line,) = lines(swept, scale_of(swept, "batch_size"), rows)
    assert [spot.x for spot in line.spots] == [8, 16, 32] and line.others == ""


def test_accuracies_under_other_labels_are_not_told_apart_nor_drawn_along_them(tmp_path):
    arms = {
        "cl": {"objective": "dcl"},
        "nscl_size": {"objective": "nscl", "labelling": "size"},
        "nscl_shape": {"objective": "nscl", "labelling": "shape"},
    }
    run = run_of(tmp_path, "s0", arms=arms, data={"labelling": "shape"})
    steps = np.arange(11)
    kept = {
        f"accuracy.{arm}.{part}": steps / 10 if part == "values" else steps
        for arm in arms
        for part in ("steps", "values")
    }
    values = {"labelling": ["size", "shape"]}
    swept = swept_of(tmp_path, [({}, [member(run, {}, **kept)])], arm_axes=values)
    numbers = numbers_of(swept)
    assert ("nscl_shape", "nscl_size") in [(one.arm, one.against) for one in numbers.differences]
    assert "accuracy" not in [one.quantity for one in numbers.differences]
    rows = [row for row in numbers.rows if (row.match, row.quantity) == ("step", "accuracy")]
    assert {row.arm for row in rows} == set(arms)
    assert {line.family for line in lines(swept, scale_of(swept, "labelling"), rows)} == {"nscl"}


def test_an_arm_that_an_axis_of_arms_does_not_change_stands_at_all_its_values(tmp_path):
    axes = {"labelling": ["size", "shape"]}
    arms = expand(ARMS, axes)
    levels = {"nscl_size": 0.1, "nscl_shape": 0.2, "nudged": 0.3}
    members = [member(run_of(tmp_path, f"s{s}", s, arms=arms), levels) for s in range(3)]
    swept = swept_of(tmp_path, [({}, members)], arm_axes=axes)
    chart = of_axis(swept, "labelling")
    assert trace(chart, "nscl")["x"] == ["size", "shape"] and trace(chart, "nscl")["y"] == pytest.approx([0.9, 0.8])
    assert trace(chart, "nudged")["y"] == pytest.approx([0.7, 0.7])


def test_where_the_seed_alone_was_varied_arms_stand_side_by_side(tmp_path):
    swept = swept_of(tmp_path, [({}, [member(run_of(tmp_path, f"s{s}", s), {"nscl": 0.1}) for s in range(3)])])
    assert axes_of(swept) == ["arm"]
    rows = [row for row in numbers_of(swept).rows if (row.match, row.quantity) == ("step", "cka")]
    assert [line.spots[0].x for line in once(lines(swept, scale_of(swept, "arm"), rows))] == [
        "nscl",
        "placebo",
        "nudged",
    ]


def test_curves_are_means_with_the_t_interval_of_each_step(tmp_path):
    swept = by_classes(tmp_path, {2: 0.2})
    steps, values, low, high, n = curves.over_seeds(swept.points[0], "cka", "nscl")
    for at in (3, 10):
        one = mean({seed: 1 - (0.2 + seed / 100) * at / 10 for seed in range(3)})
        assert (values[at], low[at], high[at]) == pytest.approx((one.value, one.low, one.high))
    assert steps.tolist() == list(range(11)) and n == 3
    chart = curves.chart(swept, ["cka"], styled(swept), id="c", title="CKA")
    assert [t["name"] for t in chart.data] == ["nscl", "placebo", "nudged"]
    late = member(run_of(tmp_path, "late", 9, last=2), {"nscl": 0.9})
    more = replace(swept.points[0], members=(*swept.points[0].members, late))
    assert curves.over_seeds(more, "cka", "nscl")[1].tolist() == values.tolist()  # it shortens no line
    two = curves.over_seeds(by_classes(tmp_path, {2: 0.2}, seeds=2).points[0], "cka", "nscl")
    assert two[4] == 2 and np.isnan(two[2]).all()


def test_the_map_has_a_row_for_each_number_of_classes_on_test_and_on_train(tmp_path):
    swept = by_classes(tmp_path, {8: 0.8, 2: 0.2, 4: 0.4})
    for one in swept.members:
        of_batches = {"batch_cka.nscl.steps": np.array([0, 5]), "batch_cka.nscl.values": np.array([1, 0.5])}
        one.summary.tensors.update(of_batches)
    chart = heat_map.chart(swept)
    by_choice = {t["meta"]["choice"]: t for t in chart.data}
    test, train = by_choice["nscl: test, the panel"], by_choice["nscl: train, recorded batches (z)"]
    assert test["y"] == ["2", "4", "8"] and test["x"] == [str(step) for step in range(11)]
    assert test["z"][0][10] == pytest.approx(0.79) and test["z"][2][10] == pytest.approx(0.19)
    assert train["x"] == ["0", "5"] and train["z"] == [[1, 0.5]] * 3
    assert "placebo: train, recorded batches (z)" not in by_choice
    assert heat_map.chart(swept_of(tmp_path, [({}, swept.points[0].members)])) is None


def test_whole_splits_that_are_kept_take_the_place_of_panel_and_batches(tmp_path):
    swept = by_classes(tmp_path, {2: 0.2, 8: 0.8})
    for one in swept.members:
        for split in ("train", "test"):
            name = f"whole_cka_{split}.nscl"
            one.summary.tensors.update({f"{name}.steps": np.array([10]), f"{name}.values": np.array([0.25])})
    choices = heat_map.chart(swept).choices
    assert [choice for choice in choices if choice.startswith("nscl")] == [
        "nscl: test, whole split at kept checkpoints", "nscl: train, whole split at kept checkpoints",
    ]  # fmt: skip


@pytest.fixture
def swept(tmp_path):
    return by_classes(tmp_path, {2: 0.2, 4: 0.4})


def test_the_page_says_all_is_the_same_every_time_and_links_to_the_runs(swept, tmp_path):
    path = tmp_path / "analysis/report.html"
    own = swept.members[0].path / "analysis/report.html"
    own.parent.mkdir(parents=True)
    own.write_text("")
    numbers = numbers_of(swept)
    html = page(swept, numbers, path)
    assert html == page(by_classes(tmp_path, {2: 0.2, 4: 0.4}), numbers, path)
    assert re.findall(r'<section id="(\w+)"', html) == [
        "summary", "axes", "curves", "map", "claims", "runs", "notes",
    ]  # fmt: skip
    assert f"<code>coupled-analyze claims {tmp_path}</code> decides what the papers claim" in html
    assert '<a href="../c2-s0/analysis/report.html">report</a>' in html
    assert f"<code>coupled-analyze report {tmp_path}/c2-s1</code>" in html
    assert "classes (2, 4) × 3 seeds (0, 1, 2): 2 points, 6 runs, 6 finished." in html
    assert "Compared at equal step: CKA, RSA, weight gap at step 10; loss gap at step 9." in html
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html).group(1))
    assert data["match"] == "step" and len(data["charts"]) == 4 + 2 + 1
    assert html.count('data-match="') == 5 and 'data-match="step" aria-pressed="true"' in html


def test_the_page_shows_what_this_sweep_decided_of_the_claims(swept, tmp_path):
    row, other, bound = rules()[0].rows[0], rules()[1].rows[0], rules()[6].rows[0]
    verdict = Verdict("supported", "", 0.1, 0.05, 0.15, 0.03, {0: 0.1, 1: 0.1})
    findings = [
        Finding(rules()[0], row, swept.path.name, "shapes, 10 steps", verdict),
        Finding(rules()[1], other, "another", "", undecided("<b>because</b>")),
        Finding(rules()[6], bound, f"another, {swept.path.name}", "shapes, 10 steps", Verdict("holds", "0 of 9", 2.5)),
    ]
    table.write(swept.path, findings)
    html = page(swept, numbers_of(swept), tmp_path / "report.html")
    (section,) = re.findall(r'<section id="claims".*?</section>', html, re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in re.findall(r"<tr>(.*?)</tr>", section)[1:]]
    effect = '0.100 <span class="whole">(0.050 – 0.150)</span>'
    assert cells == [
        ["1", "Aligned through training", row.words, "supported", effect, "0.030", "2"],
        ["7a", "The loss gap is small", bound.words, "holds", "2.500", "", ""],
    ]
    assert "At this scale: shapes, 10 steps." in section
    whole = (swept.path / "analysis/claims.csv").read_text()
    for damage in ("claim,row\n", "\x00", whole.replace(",0.1,", ",abc,")):
        (swept.path / "analysis/claims.csv").write_text(damage)
        with pytest.raises(UserError, match="is not a table of claims"):
            page(swept, numbers_of(swept), tmp_path / "report.html")


def test_names_of_others_are_shown_as_they_are_and_never_run(tmp_path):
    evil = "<script>alert(1)</script>\"'&$x"
    members = [member(run_of(tmp_path, "a", 0), {"nscl": 0.1})]
    points = [({evil: [evil]}, members), ({evil: ["b"]}, [member(run_of(tmp_path, "b", 1), {"nscl": 0.1})])]
    swept = swept_of(tmp_path, points, axes={evil: [evil, "b"]})
    numbers = numbers_of(swept)
    html = page(swept, numbers, tmp_path / "report.html")
    assert "<script>alert" not in html and "&lt;script&gt;alert(1)" in html
    figure.save(swept, numbers)
    assert (tmp_path / "analysis/sweep.png").stat().st_size > 10_000


def test_the_figure_has_a_panel_for_each_measure_and_the_same_bytes_every_time(swept, tmp_path):
    drawn = figure.draw(swept, numbers_of(swept))
    assert [axes.get_title() for axes in drawn.axes] == ["a  CKA", "b  RSA", "c  weight gap", "d  loss gap"]
    assert [axes.get_title("right") for axes in drawn.axes] == ["step 10", "step 10", "step 10", "step 9"]
    first = [path.read_bytes() for path in figure.save(swept, numbers_of(swept))]
    assert first == [path.read_bytes() for path in figure.save(swept, numbers_of(swept))]


def test_a_sweep_of_one_arm_has_a_page_that_compares_nothing(tmp_path):
    run = run_of(tmp_path, "a", arms={"cl": {"objective": "dcl"}})
    swept = swept_of(tmp_path, [({}, [member(run, {"cl": 0.1})])])
    swept = replace(swept, path=tmp_path)
    html = page(swept, numbers_of(swept), tmp_path / "report.html")
    assert "Loss gap" in html and "plot-axis0-cka" not in html
