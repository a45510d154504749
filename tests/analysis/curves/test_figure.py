"""The figure: there, the same bytes every time, honest about twins and about what is missing."""

from dataclasses import replace

import matplotlib
import numpy as np

import analysis
from analysis.curves import figure as figures
from analysis.curves import table
from analysis.divergence import twin_faults
from analysis.output.figure import caption
from analysis.output.styles import styles
from analysis.runs.curve import pick


def words(figure):
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def test_the_same_curves_give_the_same_bytes_and_leave_settings_alone(run, found):
    before = dict(matplotlib.rcParams)
    png, svg = figures.save(run, found)
    bytes_before = png.read_bytes(), svg.read_bytes()
    assert bytes_before[0].startswith(b"\x89PNG") and b"<svg" in bytes_before[1]
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "another", "text.usetex": True, "savefig.dpi": 33}):
        again = figures.save(run, found)
    assert tuple(path.read_bytes() for path in again) == bytes_before


def test_the_figure_says_what_its_values_are_of(run, found):
    said = words(figures.draw(run, found))
    for part in ("tiny", "shapes", "B = 16", "τ = 0.5", "float32", "seed 0", "n = 32 test images, d = 32"):
        assert part in said
    assert "thin lines: batch z, n = 32 train views, d = 8" in caption(run, found)
    assert "exact twin: 0 at every step, in all weights" in said and "floor: one-ulp nudge, float32" in said
    assert "noise floor" not in said  # that would say that all above it is no noise
    assert "ceiling" in said and "UNFINISHED" not in said


def test_arms_are_told_apart_by_colour_or_line(run):
    seen = styles(run.arms)
    assert len({(style.colour, style.line) for style in seen.values()}) == len(run.arms)
    assert seen["fine"].label == "fine: nscl on shape*colour, against nscl"
    assert seen["nudged"].label == "nudged: one-ulp nudge of cl"


def test_a_twin_that_left_its_original_is_drawn_and_named(spoilt):
    def move(tensors):
        tensors["state.distance"][2:] = tensors["state.weight_gap"][2:] = 1e-9

    spoilt.rewrite(spoilt.shard("scalars", "twin", 1), move)
    run = analysis.open_run(spoilt.path)
    found = analysis.curves(run)
    assert twin_faults(run, found) == ["twin is no exact twin: it left cl at step 3"]
    said = words(figures.draw(run, found))
    assert "it left cl at step 3" in said and "0 at every step" not in said


def test_an_unfinished_run_is_drawn_as_one(spoilt):
    spoilt.keep_lines(lambda entry: entry.last < 1)
    run = analysis.open_run(spoilt.path)
    assert "UNFINISHED: records up to step 0 of 20" in words(figures.draw(run, analysis.curves(run)))
    assert all(path.stat().st_size for path in figures.save(run, analysis.curves(run)))


def test_panels_without_data_say_so(run):
    assert words(figures.draw(run, [])).count("not recorded") == 5


def test_a_twin_with_another_projector_is_never_called_exact(strayed):
    run = analysis.open_run(strayed)
    found = analysis.curves(run)
    assert not pick(found, "weight_gap", "twin").values.any() and pick(found, "distance", "twin").at(0) == 0.5
    assert twin_faults(run, found) == ["twin is no exact twin: it left cl at step 0"]
    said = words(figures.draw(run, found))
    assert "it left cl at step 0" in said and "0 at every step" not in said
    assert figures.save(run, found)


def test_a_panel_that_waits_for_its_first_shard_says_so(spoilt):
    waiting = ("panel", "similarity")
    spoilt.keep_lines(
        lambda entry: entry.kind == "begin" or (entry.last < 10 and entry.name.split("/")[1] not in waiting)
    )
    run = analysis.open_run(spoilt.path)
    found = analysis.curves(run)
    said = words(figures.draw(run, found))
    assert "panel: nothing committed yet   ·   similarity: nothing committed yet" in caption(run, found)
    assert "not recorded" not in said and said.count("nothing committed yet") == 4


def test_an_alignment_that_rounds_above_one_is_drawn_and_printed(run, found):
    above = [
        replace(c, values=np.full(len(c.values), np.nextafter(1, 2))) if c.measure in ("cka", "rsa") else c
        for c in found
    ]
    for axes in figures.draw(run, above).axes[:2]:
        assert axes.get_ylim()[1] > np.nextafter(1, 2)
    assert {row.cells()[4] for row in table.rows(run, above)} == {"1.0000"}


def test_alignment_has_its_intervals_and_what_chance_gives(run, found):
    panels = figures.draw(run, found).axes[:2]
    bars = [container for axes in panels for container in axes.containers]
    shown = [pick(found, measure, arm, source="panel", feature="h") for measure in ("cka", "rsa") for arm in run.arms]
    shown = [curve for curve in shown if curve is not None]
    assert len(bars) == len(shown) == sum(len(axes.collections) - len(axes.containers) for axes in panels)
    for container, curve in zip(bars, shown, strict=True):
        ends = np.array([segment[:, 1] for segment in container.lines[2][0].get_segments()])
        known = np.isfinite(curve.interval.low)
        expected = np.fmin(curve.interval.low, curve.values), np.fmax(curve.interval.high, curve.values)
        assert np.allclose(ends[known], np.stack(expected, 1)[known])
    assert "bars: 95 % interval, grey: by chance" in caption(run, found)
    assert "grey" not in caption(run, [replace(curve, null=None, interval=None) for curve in found])
