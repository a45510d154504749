"""The report shows what other commands have left of kept checkpoints, and computes nothing of it by itself."""

import re
import shutil
from dataclasses import replace

import pytest
from helpers import tiny
from plotly import graph_objects

import analysis
from analysis.cli import main
from analysis.evaluation import extraction
from analysis.report import content_of, page, sections
from analysis.report.evaluated import TABLES
from analysis.report.evaluated import evaluated as read_back
from coupled.driver.train import train

pytestmark = pytest.mark.slow  # runs of their own; others of the fast ones train, resume and read as well

ARMS = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, "scl": {"objective": "scl", "reference": "nscl"}}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A run beside which the three commands have left their tables."""
    path = train(tiny(tmp_path_factory.mktemp("runs"), arms=ARMS, train={"steps": 3}))
    for command, *options in (("alignment", "--pair", "scl", "cl"), ("losses",), ("geometry",)):
        assert main([command, str(path), "--samples", "32", "--steps", "0", "3", *options]) == 0
    shutil.rmtree(path / "analysis/features")
    return path


@pytest.fixture(scope="module")
def content(evaluated):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction, "embed", lambda *_, **__: pytest.fail("a forward"))
        return content_of([analysis.open_run(evaluated)])


def test_what_is_there_has_a_section_and_nothing_is_computed(content):
    assert set(content.evaluated) == set(TABLES)
    drawn = [chart for chart in sections.all_charts(content) if chart is not None and chart.id in TABLES]
    assert [chart.id for chart in drawn] == list(TABLES) and all(chart.choices for chart in drawn)
    assert all(graph_objects.Figure(data=chart.data, layout=chart.layout).data for chart in drawn)
    html = page(content)
    assert '<section id="evaluated"' in html and all(f'id="plot-{chart}"' in html for chart in TABLES)


def test_a_pair_that_a_user_named_is_told_from_an_arm_and_its_reference(content):
    charts = {chart.id: chart for chart in sections.all_charts(content) if chart is not None}
    assert {"CKA, h on test", "CKA, h on test, with cl"} <= set(charts["whole_alignment"].choices)
    assert not [choice for choice in charts["whole_geometry"].choices if "scope" in choice]


def test_values_are_those_of_the_tables(evaluated, content):
    text = (evaluated / "analysis/losses.csv").read_text().splitlines()
    columns, row = (
        text[0].split(","),
        next(line for line in text[1:] if line.startswith("3,") and ",nscl,test,split" in line),
    )
    (curve,) = (
        curve
        for curve in content.evaluated["whole_losses"]
        if (curve.measure, curve.arm, curve.split, curve.source) == ("gap_tighter", "nscl", "test", "split")
        and curve.labelling == row.split(",")[columns.index("labelling")]
    )
    assert curve.at(3) == float(row.split(",")[columns.index("gap_tighter")])


def test_a_run_without_such_tables_has_no_such_section(run):
    html = page(content_of([run]))
    assert "evaluated" not in re.findall(r'<section id="(\w+)"', html)


@pytest.mark.parametrize("name", ["losses.csv", "alignment.csv"])
def test_a_table_that_is_none_of_ours_leaves_its_reason(evaluated, content, name):
    path = evaluated / "analysis" / name
    whole = path.read_bytes()
    path.write_text("step,arm\n0,<script>\n")
    tables, reasons = read_back(content.run)
    path.write_bytes(whole)
    assert len(tables) == 2 and len(reasons) == 1 and name in reasons[0]
    html = page(replace(content, evaluated=tables, missing={"evaluated": reasons}))
    assert name in html and "<script>\n" not in html
