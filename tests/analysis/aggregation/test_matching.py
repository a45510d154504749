"""Values at matched progress: exact where the law is known, and a gap that says why wherever there is none."""

import numpy as np
import pytest

from analysis.aggregation.gap import Gap
from analysis.aggregation.matching import Progress, match, smoothed

STEPS = np.arange(0, 101)
PANEL = np.array([0, 1, 3, 10, 30, 100])


def line(axis, slope, start=0.0, steps=STEPS):
    return Progress.of(axis, steps, start + slope * steps)


@pytest.mark.parametrize("axis, slope", [("step", 1), ("epoch", 1 / 7), ("rate", 0.3), ("motion", 0.05)])
@pytest.mark.parametrize("at", [0, 0.25, 1, 2.5, 17, 29.5, 30, 99.9, 100])
def test_a_measure_linear_in_progress_is_matched_exactly_on_sparse_steps(axis, slope, at):
    progress = line(axis, slope)
    values = 0.9 - 0.2 * slope * PANEL
    assert match(progress, PANEL, values, slope * at) == pytest.approx(0.9 - 0.2 * slope * at, abs=1e-14)


def test_it_is_linear_in_what_is_matched_and_not_in_steps():
    progress = Progress.of("motion", STEPS, np.sqrt(STEPS))
    assert match(progress, PANEL, 1 - np.sqrt(PANEL) / 20, 7.0) == pytest.approx(1 - 7 / 20, abs=1e-14)


def test_between_two_recorded_steps_a_curved_law_is_its_chord():
    progress, values = line("step", 1), PANEL.astype(float) ** 2
    assert match(progress, PANEL, values, 20.0) == pytest.approx(100 + (900 - 100) * 0.5)


def test_a_recorded_step_gives_its_value_to_the_last_bit_whatever_stands_beside_it():
    values = np.array([np.nan, 0.1, np.nan, 1 / 3, np.nan, 0.7])
    assert match(line("step", 1), PANEL, values, 10.0) == 1 / 3
    assert match(line("step", 1), PANEL, values, 100.0) == 0.7
    assert match(line("step", 1), PANEL, values, 9.0) == Gap("undefined at step 3")


def test_a_run_that_never_gets_there_is_a_gap_that_says_how_far_it_came():
    gap = match(line("motion", 0.05), PANEL, PANEL / 1.0, 5.1)
    assert gap == Gap("never gets there: distance from the start 5 at step 100, the last recorded, not 5.1")


def test_never_beyond_the_measures_own_steps():
    assert isinstance(match(line("step", 1), PANEL[:-1], PANEL[:-1] / 1.0, 31.0), Gap)
    gap = match(line("step", 1), PANEL[3:], PANEL[3:] / 1.0, 9.0)
    assert gap == Gap("step 10 at step 10, the first recorded: beyond 9 already")


def test_steps_at_which_progress_is_not_known_do_not_bracket():
    progress = line("motion", 1, steps=np.arange(0, 51))
    assert isinstance(match(progress, PANEL, PANEL / 1.0, 40.0), Gap)
    assert match(progress, PANEL, PANEL / 1.0, 20.0) == 20
    none = match(line("motion", 1, steps=np.arange(40, 51)), PANEL, PANEL / 1.0, 45.0)
    assert none == Gap("no recorded step at which the distance from the start is known")


def test_where_the_rate_is_zero_the_first_of_equal_steps_counts():
    progress = Progress.of("rate", STEPS, np.minimum(STEPS, 30) * 0.1)
    assert match(progress, STEPS, STEPS / 1.0, 30 * 0.1) == 30


def test_what_turns_back_is_matched_at_its_first_passage():
    motion = np.array([0.0, 1, 2, 1.5, 1.8, 3.0])
    progress = Progress.of("motion", np.arange(6), motion)
    assert progress.amounts.tolist() == [0, 1, 2, 2, 2, 3]
    assert progress.passage(1.6) == pytest.approx(1.6) and progress.passage(2.5) == pytest.approx(4.5)


def literal_smoothed(steps, values):
    """At each t the mean over t − ⌊t/10⌋ … t + ⌊t/10⌋, where the run reaches that far."""
    kept = [t for t in steps if t - t // 10 >= steps[0] and t + t // 10 <= steps[-1]]
    return kept, [np.mean([v for s, v in zip(steps, values, strict=True) if abs(s - t) <= t // 10]) for t in kept]


@pytest.mark.parametrize("steps", [np.arange(0, 300), np.arange(0, 300, 3), np.arange(40, 200), np.array([7])])
def test_a_smoothed_loss_is_the_literal_mean_around_each_step(steps):
    values = np.random.default_rng(0).standard_normal(len(steps)) + 5
    at, means = smoothed(steps, values)
    kept, literal = literal_smoothed(steps.tolist(), values.tolist())
    assert at.tolist() == kept and means == pytest.approx(literal, rel=1e-13)


def test_a_loss_that_falls_in_a_line_is_matched_exactly_and_not_in_its_last_tenth():
    progress = line("loss", -0.02, 4.0)
    assert match(progress, STEPS, STEPS / 100, 4 - 0.02 * 62.5) == pytest.approx(0.625, abs=1e-12)
    assert progress.steps[-1] == 91
    gap = match(progress, STEPS, STEPS / 100, 2.1)
    assert gap == Gap("never gets there: own loss 2.18 at step 91, the last recorded, not 2.1")


def test_one_lucky_batch_is_no_passage_of_a_loss():
    values = 4 - 0.02 * STEPS
    values[40] -= 0.5  # alone as low as the loss will be at step 65; its nine neighbours hold it up
    passage = Progress.of("loss", STEPS, values).passage(4 - 0.02 * 60)
    assert passage == pytest.approx(60, abs=0.5)


def test_a_loss_that_rises_again_counts_when_it_first_fell():
    values = np.concatenate([np.linspace(4, 3, 200), np.linspace(3, 3.8, 100), np.linspace(3.8, 2, 300)])
    progress = Progress.of("loss", np.arange(600), values)
    assert (np.diff(progress.amounts) <= 0).all()
    assert progress.passage(3.5) == pytest.approx(99.5, abs=0.01)
    assert progress.passage(2.5) > 300
    assert isinstance(match(progress, np.arange(600), values, 4.2), Gap)


def test_a_loss_that_is_not_finite_is_a_gap():
    values = np.where(STEPS == 7, np.inf, 4.0)
    assert Progress.of("loss", STEPS, values) == Gap("own loss is not finite at step 7")
    assert Progress.of("loss", STEPS[:0], values[:0]) == Gap("no own loss yet")
