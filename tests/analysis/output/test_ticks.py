"""Ticks of the axis of steps: in narrow panels few enough to stand apart."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from analysis.output.figure import step_ticks, steps_axis


@pytest.mark.parametrize("last", [1, 6, 300, 3000, 10**5, 10**7])
def test_narrow_panels_have_few_ticks_that_begin_at_0(last):
    axes = Figure().add_subplot()
    steps_axis(axes, SimpleNamespace(steps=last), narrow=True)
    ticks = [int(tick) for tick in axes.get_xticks()]
    assert ticks[:2] == [0, 1] and len(ticks) <= 6 and ticks[-1] == last
    assert all(after >= 3 * before for before, after in pairwise(ticks[1:]))


@pytest.mark.parametrize("last", [1, 2, 7, 150, 300, 320, 500, 2000, 10**5, 123456])
def test_the_last_step_has_a_tick_that_stands_apart(last):
    ticks = step_ticks(last)
    assert ticks[0] == 0 and ticks[-1] == last and ticks == sorted(set(ticks))
    assert all(after >= 1.6 * before for before, after in pairwise(ticks[1:]))
    assert len(ticks) > 3 or last < 10


def test_where_a_logarithmic_axis_turns_linear_it_is_broken():
    axes = Figure().add_subplot()
    steps_axis(axes, SimpleNamespace(steps=300))
    strokes = next(artist for artist in axes.get_children() if isinstance(artist, PathPatch))
    axes.figure.draw_without_rendering()
    to_data = axes.transData.inverted()
    places = to_data.transform(strokes.get_transform().transform(strokes.get_path().vertices))
    assert 0 < places[:, 0].min() < 0.5 < places[:, 0].max() < 1
    assert not axes.lines and not axes.texts
