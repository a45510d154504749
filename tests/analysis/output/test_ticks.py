"""Ticks of the axis of steps: in narrow panels few enough to stand apart."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure

from analysis.output.figure import steps_axis


@pytest.mark.parametrize("last", [1, 6, 300, 3000, 10**5, 10**7])
def test_narrow_panels_have_few_ticks_that_begin_at_0(last):
    axes = Figure().add_subplot()
    steps_axis(axes, SimpleNamespace(steps=last), narrow=True)
    ticks = [int(tick) for tick in axes.get_xticks()]
    assert ticks[:2] == [0, 1] and len(ticks) <= 6 and ticks[-1] <= last
    assert all(after >= 3 * before for before, after in pairwise(ticks[1:]))
