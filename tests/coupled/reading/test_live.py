"""What a run says of itself is untrusted: what no run could say is not believed."""

import json
from dataclasses import replace

import pytest

from coupled.reading.live import LIVE, Live, read_live


@pytest.mark.parametrize(
    "strange", [{"planned": 10**400}, {"step": 2**53}, {"points": [[10**30, 1.0]]}, {"pid": -1}, {"rate": 1e400}]
)
def test_counts_that_no_run_has_are_not_believed(tmp_path, strange):
    told = {"step": 5, "planned": 9, "time": 1.0, "rate": 2.0, "host": "h", "pid": 1, "names": ["a"], "points": []}
    (tmp_path / LIVE).parent.mkdir()
    (tmp_path / LIVE).write_text(json.dumps(told))
    assert read_live(tmp_path).left == 2.0
    (tmp_path / LIVE).write_text(json.dumps(told | strange))
    assert read_live(tmp_path) is None


def test_a_time_that_is_left_is_finite_and_not_over(tmp_path):
    live = Live(step=5, planned=9, time=1.0, rate=5e-324, host="h", pid=1, points=())
    assert live.left is None and replace(live, rate=1.0, step=99).left == 0
