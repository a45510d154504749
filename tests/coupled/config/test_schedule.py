"""When the panel is looked at."""

from itertools import pairwise

from coupled.config import Schedule
from coupled.config.schema import Record


def test_by_default_the_panel_is_recorded_densely_enough_for_a_curve():
    """Never more than a factor of two between steps, and a few dozen of them however long the run."""
    panel = Record().panel
    assert panel.upto(300) == [0, 1, 2, 3, 6, 10, 18, 30, 32, 56, 100, 150, 180, 250, 300]
    steps = panel.upto(100_000)
    assert all(later <= 2 * step for step, later in pairwise(steps[1:])) and len(steps) == 26


def test_log_schedules_hit_the_headline_steps():
    assert {10, 30, 100, 300} <= set(Schedule(log=2).upto(300))
