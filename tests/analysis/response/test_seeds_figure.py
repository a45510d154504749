"""The figure over seeds: every name is whole, inside the figure, and touches no other."""

import itertools

import pytest
import torch
from helpers import tiny
from matplotlib.backends.backend_agg import FigureCanvasAgg

import analysis
from analysis.response import response, seeds_figure
from analysis.response.seeds import seed_curves
from coupled.driver.train import train

LONG = "of-one_of-the_names-that_a-sweep_gives-its_arms-w0123"


def named(length, kind):
    """A name that is as long, and begins with the kind."""
    return f"{kind}-{LONG}"[:length] if length > len(kind) else kind


def drawn(folder, length):
    torch.set_num_threads(1)
    nscl = named(length, "nscl")
    arms = {
        "cl": {"objective": "dcl"},
        nscl: {"objective": "nscl"},
        named(length, "placebo"): {"kind": "placebo", "of": nscl},
        named(length, "twin"): {"kind": "twin", "of": nscl},
        ("W" * length)[:length]: {"kind": "nudged", "scale": 1e-3},
    }
    runs = [
        analysis.open_run(train(tiny(folder / str(seed), seed=seed, arms=arms, train={"steps": 1}))) for seed in (0, 1)
    ]
    return list(arms), seeds_figure.draw(runs, seed_curves(runs, [response(run) for run in runs]))


@pytest.mark.slow
@pytest.mark.parametrize("length", [8, 34, 60])
def test_names_of_any_length_are_whole_and_apart(length, tmp_path):
    arms, figure = drawn(tmp_path, length)
    renderer = FigureCanvasAgg(figure).get_renderer()
    labelled = [axes for axes in figure.axes if any(tick.get_text() for tick in axes.get_yticklabels())]
    assert len(figure.axes) == 4 and len(labelled) == 2
    for axes in labelled:
        ticks = axes.get_yticklabels()
        boxes = [tick.get_window_extent(renderer) for tick in ticks]
        assert all(box.x0 >= 0 and box.x1 <= axes.get_window_extent(renderer).x0 for box in boxes)
        for upper, lower in itertools.pairwise(sorted(boxes, key=lambda box: -box.y0)):
            assert upper.y0 >= lower.y1
        assert all(any(arm in "".join(tick.get_text().split("\n")) for arm in arms) for tick in ticks)
    titles = [axes.title.get_window_extent(renderer) for axes in figure.axes]
    for left, right in ((titles[0], titles[1]), (titles[2], titles[3])):
        assert left.x1 < right.x0 and right.x1 <= figure.bbox.x1


def test_a_name_is_broken_behind_a_mark_and_anywhere_without_one():
    assert seeds_figure._in_lines("short") == "short"
    lines = seeds_figure._in_lines("x" * 20 + "-" + "y" * 39).split("\n")
    assert lines == ["x" * 20 + "-", "y" * 34, "y" * 5]
    assert seeds_figure._in_lines("a-" + "b" * 58).split("\n") == ["a-" + "b" * 32, "b" * 26]
    assert seeds_figure._joined("nscl", " − ", "placebo") == "nscl − placebo"
    assert seeds_figure._joined("n" * 20, " − ", "p" * 20) == "n" * 20 + " −\n" + "p" * 20
