"""Which steps a long table keeps."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analysis
from analysis.output.thinning import WHOLE, thinned


def literal(steps):
    """Step by step: below 2,000 all, then the first recorded in each tenth, twentieth, … step; and the last."""
    kept, seen = [], set()
    for at, step in enumerate(steps):
        width = 1 if step < 2000 else 10 * 2 ** ((step // 2000).bit_length() - 1)
        if (width, step // width) not in seen or at == len(steps) - 1:
            kept.append(at)
        seen.add((width, step // width))
    return kept


@given(every=st.integers(1, 9), first=st.integers(0, 50), more=st.integers(2002, 30_000))
def test_long_curves_are_thinned_as_a_literal_walk_does(every, first, more):
    steps = first + every * np.arange(more)
    assert thinned(steps).tolist() == literal(steps.tolist())


def test_a_run_that_records_each_step_keeps_round_ones_and_the_last():
    kept = np.arange(20_001)[thinned(np.arange(20_001))].tolist()
    assert kept[: WHOLE + 2] == [*range(2001), 2010]
    assert kept[-3:] == [19_840, 19_920, 20_000] and {3990, 4000, 4020, 8040} <= set(kept)
    assert np.arange(20_012)[thinned(np.arange(20_012))][-1] == 20_011


@pytest.mark.parametrize("count", [0, 1, 2001])
def test_short_curves_are_whole(count):
    steps = np.arange(count) * 1000
    assert thinned(steps).tolist() == list(range(count))


def test_a_table_is_whole_unless_it_is_to_be_thinned(trained):
    run = analysis.open_run(trained)
    short = run.curve("cka", arm="nscl")
    steps, fill = np.arange(3000), np.full(3000, 0.5)
    bands = {name: replace(getattr(short, name), low=fill.copy(), high=fill.copy()) for name in ("interval", "null")}
    long = replace(short, steps=steps, values=fill.copy(), **bands)
    for all_steps, rows in ((True, 3000), (False, 2101)):
        path = analysis.write_csv(run, [long], "some.csv", all_steps=all_steps)
        cells = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        assert len(cells) == rows and cells[-1]["step"] == "2999" and cells[-1]["low"] == "0.5"
