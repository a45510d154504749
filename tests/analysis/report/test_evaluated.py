"""The report shows what other commands have left of kept checkpoints, and computes nothing of it by itself."""

import re
import shutil

import pytest

import analysis
from analysis.cli import main
from analysis.evaluation import extraction
from analysis.report import content_of, page, sections
from analysis.report.evaluated import TABLES


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """A run beside which the three commands have left their tables."""
    path = shutil.copytree(trained, tmp_path_factory.mktemp("evaluated") / "run")
    for command, *options in (("alignment", "--pair", "fine", "cl"), ("losses",), ("geometry",)):
        assert main([command, str(path), "--samples", "32", "--steps", "0", "20", *options]) == 0
    return path


def test_what_is_there_has_a_section_and_nothing_is_computed(evaluated, monkeypatch):
    monkeypatch.setattr(extraction, "embed", lambda *_, **__: pytest.fail("a forward"))
    shutil.rmtree(evaluated / "analysis/features")
    content = content_of([analysis.open_run(evaluated)])
    assert set(content.evaluated) == set(TABLES)
    drawn = [chart for chart in sections.all_charts(content) if chart is not None and chart.id in TABLES]
    assert [chart.id for chart in drawn] == list(TABLES) and all(chart.choices and chart.data for chart in drawn)
    html = page(content)
    assert '<section id="evaluated"' in html and all(f'id="plot-{chart}"' in html for chart in TABLES)


def test_a_pair_that_a_user_named_is_told_from_an_arm_and_its_reference(evaluated):
    content = content_of([analysis.open_run(evaluated)])
    chart = next(one for one in sections.all_charts(content) if one is not None and one.id == "whole_alignment")
    assert {"CKA, h on test", "CKA, h on test, with cl"} <= set(chart.choices)
    geometry = next(one for one in sections.all_charts(content) if one is not None and one.id == "whole_geometry")
    assert not [choice for choice in geometry.choices if "scope" in choice]


def test_values_are_those_of_the_tables(evaluated):
    content = content_of([analysis.open_run(evaluated)])
    text = (evaluated / "analysis/losses.csv").read_text().splitlines()
    columns, row = (
        text[0].split(","),
        next(line for line in text[1:] if line.startswith("20,") and ",nscl,test,split" in line),
    )
    (curve,) = (
        curve
        for curve in content.evaluated["whole_losses"]
        if (curve.measure, curve.arm, curve.split, curve.source) == ("gap_tighter", "nscl", "test", "split")
        and curve.labelling == row.split(",")[columns.index("labelling")]
    )
    assert curve.at(20) == float(row.split(",")[columns.index("gap_tighter")])


def test_a_run_without_such_tables_has_no_such_section(run):
    html = page(content_of([run]))
    assert "evaluated" not in re.findall(r'<section id="(\w+)"', html)


@pytest.mark.parametrize("name", ["losses.csv", "alignment.csv"])
def test_a_table_that_is_none_of_ours_leaves_its_reason(evaluated, tmp_path, name):
    path = shutil.copytree(evaluated, tmp_path / "run")
    (path / "analysis" / name).write_text("step,arm\n0,<script>\n")
    content = content_of([analysis.open_run(path)])
    assert len(content.evaluated) == 2 and name in content.missing["evaluated"][0]
    assert "<script>\n" not in page(content)
