"""The response on the page: what each control answers, means over seeds, and the same files as the command's."""

import csv
import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import tiny

import analysis
from analysis.arrays.amplification import rank_among
from analysis.cli import main
from analysis.report import combine, content_of, gather, page, response_charts, wording
from analysis.report.comparisons import comparisons
from analysis.report.response_section import section
from analysis.report.sections import all_charts
from analysis.response import paths, response, speaks, table
from analysis.response.ranks import PlaceboRank
from analysis.runs import measures
from analysis.runs.curve import pick
from analysis.runs.run import Run
from coupled.driver.train import train

pytestmark = pytest.mark.slow
STEPS = 3
FILES = ("response.csv", "response_curves.csv", "response.png", "response.svg")
OFF = {"every": 0, "log": 0, "last": False}
BASE = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}
ARMS = {
    **BASE,
    "placebo": {"kind": "placebo", "of": "nscl"},
    "kicked": {"kind": "kicked", "match": "nscl"},
    "nudged": {"kind": "nudged", "scale": 1e-3},
    "far": {"kind": "nudged", "scale": 1e-1},
    "independent": {"kind": "independent"},
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    torch.set_num_threads(1)
    folder, record = tmp_path_factory.mktemp("response"), {"ledger": {"every": 1}, "flips": {"every": 1}}
    sections = {"train": {"steps": STEPS}, "ledger": {"contrast": ["nscl"]}, "arms": ARMS}
    panel = {"surrogate": OFF, "similarity": OFF, "layers": OFF}
    return [train(tiny(folder / str(seed), seed=seed, record=record | panel, **sections)) for seed in range(2)]


@pytest.fixture(scope="module")
def content(roots):
    return content_of([analysis.open_run(roots[0])])


@pytest.fixture(scope="module")
def seeds(roots):
    return content_of([analysis.open_run(root) for root in roots])


def section_of(content):
    return section(content, all_charts(content))


def cells_of(html, arm):
    """The cells of an arm's row in the table of points."""
    (row,) = re.findall(rf"<tr><td[^>]*>{arm}</td>(.*?)</tr>", html.partition("Path bounds")[0])
    return re.findall(r"<td[^>]*>(.*?)</td>", row)


def test_the_table_has_the_points_of_every_arm(content):
    html = section_of(content)
    for point in response(content.run).points:
        numbers = (point.put_in, point.distance, point.amplification, point.weight_gap, point.cka)
        flip = "–" if point.first_flip is None else str(point.first_flip)
        shown = ["–" if math.isnan(number) else wording.number(number) for number in numbers]
        assert cells_of(html, point.arm) == [*shown, flip]


def test_the_section_says_what_each_control_answers_and_all_that_the_terminal_does(content):
    html = section_of(content)
    for said in ("placebo: A placebo", "kicked: A kicked", "nudged, far: A nudge shows", "independent: An independent"):
        assert said in html
    assert "An anti arm" not in html and "A twin" not in html and "matched nudge" not in html
    lines = table.lines(content.run, response(content.run))
    assert len(lines) > 2 and all(f"<li>{line.replace(chr(39), '&#x27;')}.</li>" in html for line in lines)


def test_nudges_are_a_line_and_other_arms_are_markers_with_names(content):
    chart = response_charts.response(content)
    assert chart is not None and chart.y_log and chart.layout["xaxis"]["type"] == "log"
    known = {point.arm: (point.put_in, point.distance) for point in response(content.run).points if point.put_in > 0}
    markers = {
        trace["meta"]["arm"]: (trace["x"][0], trace["y"][0]) for trace in chart.data if "marker" in trace["mode"]
    }
    assert markers == {arm: pytest.approx(place, rel=1e-5) for arm, place in known.items()}
    (through,) = [trace for trace in chart.data if trace["mode"] == "lines" and trace["meta"]["arm"] is None][1:]
    assert through["x"] == sorted(markers[arm][0] for arm in ("nudged", "far"))
    assert {trace["text"][1] for trace in chart.data if trace["mode"] == "lines+text"} == set(known) - {"nudged", "far"}


def test_distances_stand_beside_the_path_bounds_that_a_ledger_gives(content):
    chart = response_charts.paths(content)
    assert chart is not None and chart.choices[0] == "nscl to cl" and chart.choices[-1] == response_charts.ALL
    of_nscl = [trace for trace in chart.data if trace["meta"]["choice"] == "nscl to cl"]
    bounds = {c.bound for c in content.response_curves if c.arm == "nscl" and c.kind == "upper bound"}
    assert len(of_nscl) == 1 + len(bounds) and {"along the path", "joint"} <= bounds
    assert all(f">{bound}" in section_of(content) for bound in ("along the path", "joint"))


def test_over_seeds_numbers_are_means_with_their_range(seeds, roots):
    html = section_of(seeds)
    rows = [list(csv.DictReader(written(root).splitlines())) for root in roots]
    gaps = [float(next(row for row in of if row["arm"] == "nscl")["weight_gap"]) for of in rows]
    mean, low, high = map(wording.number, (sum(gaps) / 2, min(gaps), max(gaps)))
    assert cells_of(html, "nscl")[3] == f'{mean} <span class="whole">({low} – {high})</span>'
    assert "means over 2 seeds, in brackets their range" in html
    chart = response_charts.response(seeds)
    assert chart is not None
    nscl = next(t for t in chart.data if "marker" in t["mode"] and t["meta"]["arm"] == "nscl")
    assert nscl["error_y"]["array"][0] > 0 and nscl["error_x"]["arrayminus"][0] > 0


def test_over_seeds_ranks_among_placebos_are_joined(seeds):
    lowest = PlaceboRank("nscl", "cka", "run", STEPS, 0.5, 19, rank_among(0.5, [1.0] * 19), True, "uniform stream")
    ranked = [(run, replace(found, ranks=[lowest])) for run, found in seeds.responses]
    html = section_of(replace(seeds, responses=ranked))
    assert "<li>nscl: cka over 2 seeds, 0 of 38 placebos below (0, 0), 38 above: joint p = 0.005 two-sided" in html
    assert "joint p" not in section_of(seeds) and "joint p" not in section_of(replace(seeds, responses=ranked[:1]))


def written(root):
    """response.csv of a run."""
    run = analysis.open_run(root)
    return table.write(run, response(run))[0].read_text("utf-8")


def test_the_headline_begins_with_placebo_and_kicked_seed_by_seed(seeds, roots):
    html = page(seeds).split('<section id="headline"')[1]
    assert 0 < html.index("Each loss beside its own controls") < html.index('class="cards"')
    assert [(row.arm, *row.controls) for row in seeds.comparisons] == [("nscl", "placebo"), ("nscl", "kicked")]
    gaps = [{arm: run.curve("weight_gap", arm=arm).at(STEPS) for arm in ARMS if arm != "cl"} for run in seeds.runs]
    assert seeds.comparisons[0].values["weight_gap"] == [(gap["nscl"], gap["placebo"]) for gap in gaps]
    apart = [gap["nscl"] - gap["placebo"] for gap in gaps]
    between = f'<span class="whole">({min(apart):+.4f} – {max(apart):+.4f})</span>'
    assert f"{sum(apart) / 2:+.4f} {between}" in html


def test_seeds_are_compared_at_the_last_step_that_all_of_them_have(roots):
    runs = [analysis.open_run(root) for root in roots]
    whole = [list(analysis.curves(run)) for run in runs]
    shorter = [replace(c, steps=c.steps[:-1], values=c.values[:-1], interval=None, null=None) for c in whole[1]]
    rows = comparisons([(runs[0], whole[0]), (runs[1], shorter)])
    assert {row.step for row in rows} == {STEPS - 1} and all(len(row.values["weight_gap"]) == 2 for row in rows)
    assert comparisons([(runs[0], whole[0]), (runs[1], [])]) == []


def test_draws_of_one_control_count_together(tmp_path):
    draws = {f"p{k}": {"kind": "placebo", "of": "nscl", "draw": k} for k in (1, 2, 3)}
    run = analysis.open_run(train(tiny(tmp_path, train={"steps": 1}, arms=BASE | draws)))
    (row,) = comparisons([(run, analysis.curves(run))])
    gaps = {name: run.curve("weight_gap", arm=name).at(1) for name in ("nscl", *draws)}
    assert row.named.startswith("p1 … p3 (3 draws, their mean): nscl, labels permuted")
    assert row.values["weight_gap"] == [(gaps["nscl"], pytest.approx(sum(gaps[name] for name in draws) / 3))]


def test_a_distance_over_a_nudges_has_its_scale_and_precision_beside_it_and_no_conclusion(content):
    html = page(content)
    assert "× nudged (nudge of 0.001, float32)" in html and "is no measure of what the loss does" in html
    assert "excess</dt>" not in html and '<th scope="col" class="number">excess' not in html


def test_a_run_without_such_arms_has_neither_section_nor_files(tmp_path):
    arms = {**BASE, "twin": {"kind": "twin"}, "independent": {"kind": "independent"}}
    root = train(tiny(tmp_path, train={"steps": 1}, arms=arms))
    assert not speaks(analysis.open_run(root)) and main(["report", str(root)]) == 0
    assert 'id="response"' not in (root / "analysis/report.html").read_text("utf-8")
    assert (root / "analysis/curves.csv").is_file() and not any((root / "analysis" / name).exists() for name in FILES)


def test_a_run_of_which_nothing_is_known_to_be_put_in_says_so(tmp_path):
    arms = {name: ARMS[name] for name in ("cl", "nscl", "placebo")}
    root = train(tiny(tmp_path, train={"steps": 1}, arms=arms))
    assert main(["report", str(root)]) == 0
    html = (root / "analysis/report.html").read_text("utf-8")
    assert "of no arm it is known yet what was put in" in html and 'id="plot-response"' not in html
    assert 'id="plot-paths"' in html


def test_a_ledger_alone_is_something_to_say(tmp_path):
    root = train(tiny(tmp_path, train={"steps": 1}, arms=BASE, record={"ledger": {"every": 1}}))
    assert speaks(analysis.open_run(root)) and 'id="response"' in page(content_of([analysis.open_run(root)]))


def test_the_files_have_the_bytes_of_the_command(roots, tmp_path):
    reported, asked = (shutil.copytree(roots[0], tmp_path / name / "run") for name in ("reported", "asked"))
    assert main(["report", str(reported)]) == 0 and main(["response", str(asked)]) == 0
    for name in FILES:
        assert (reported / "analysis" / name).read_bytes() == (asked / "analysis" / name).read_bytes()


def test_nothing_is_computed_or_read_twice(roots, monkeypatch):
    computed, read = [], []
    of, column = measures.curve, Run.column

    def counted(records, measure, arm, **options):
        own = {name: value for name, value in options.items() if (name, value) != ("source", "panel")}
        computed.append((measure, arm, *sorted(value for value in own.items() if value != ("feature", "h"))))
        return of(records, measure, arm, **options)

    def seen(run, stream, owner, name):
        read.extend([(owner, name)] if stream == "ledger" else [])
        return column(run, stream, owner, name)

    monkeypatch.setattr(measures, "curve", counted)
    monkeypatch.setattr(Run, "column", seen)
    assert gather(analysis.open_run(roots[0])).response is not None
    assert len(set(computed)) == len(computed) and ("cka", "nscl") in computed
    assert len(set(read)) == len(read) > 10


def test_curves_of_another_process_are_taken_as_they_are(roots):
    run, other = analysis.open_run(roots[0]), analysis.open_run(roots[0])
    run.take(analysis.curves(other))
    curve = run.curve("cka", arm="nscl")
    assert curve is pick(analysis.curves(other), "cka", "nscl", source="panel", feature="h")
    assert np.array_equal(curve.values, analysis.open_run(roots[0]).curve("cka", arm="nscl").values)


def test_a_path_bound_that_does_not_hold_is_an_alarm(roots, monkeypatch):
    monkeypatch.setattr(paths.bounds, "joint", lambda of: of.distance / 2)
    content = combine([gather(analysis.open_run(roots[0]))])
    assert any("path bound joint is VIOLATED" in alarm for alarm in wording.alarms(content))
    assert "ALARM: nscl: the path bound joint is VIOLATED" in page(content)


def test_what_cannot_be_told_is_said_in_place_of_the_section(tmp_path):
    root = train(
        tiny(tmp_path, train={"steps": 1}, arms={"cl": BASE["cl"], "nudged": ARMS["nudged"]}, record={"scalars": OFF})
    )
    content = content_of([analysis.open_run(root)])
    assert content.missing["response"] and content.missing["response"][0] in section_of(content)
