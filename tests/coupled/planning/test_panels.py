"""What `plan` says of the time that panels take."""

import pytest
from helpers import tiny

from coupled.arms.network import forward_on_shapes
from coupled.commands import run
from coupled.planning.panels import panel_cost


def config_of(folder, **sections):
    arms = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}
    record = {"panel": {"steps": [0, 3], "last": True}, "surrogate": {"steps": [0]}}
    return tiny(folder, arms=arms, **{"record": record, **sections})


def test_a_panel_is_two_operations_a_multiply_add_of_each_image_and_arm(tmp_path):
    config = config_of(tmp_path)  # 16 images of the panel, 4 × 2 of the surrogate, one thread: 20 GFLOP/s
    cost, one = panel_cost(config), 2 * 2 * forward_on_shapes(config).multiply_adds / 20e9
    assert cost.observations == 3
    assert cost.seconds == pytest.approx((16 + 8) * one, rel=1e-12)
    panels, steps = (3 * 16 + 8) * one, 6 * 16 * 3 * one  # 6 steps of 8 × 2 views, a backward twice a forward
    assert cost.share == pytest.approx(panels / (panels + steps), rel=1e-12)


def test_the_share_does_not_depend_on_threads_and_no_panel_takes_nothing(tmp_path):
    one, two = (panel_cost(config_of(tmp_path, train={"steps": 6, "threads": n})) for n in (1, 2))
    assert one.share == two.share and one.seconds == pytest.approx(2 * two.seconds)
    none = {"panel": {}, "surrogate": {}}
    cost = panel_cost(config_of(tmp_path, record=none))
    assert (cost.observations, cost.share) == (0, 0.0)


@pytest.mark.parametrize(("every", "warned"), [(1, True), (1000, False)])
def test_more_than_a_tenth_is_a_line_that_says_what_to_do(tmp_path, monkeypatch, capsys, every, warned):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(
        f'[train]\nsteps = 2000\n[record]\npanel = {{ every = {every} }}\n[arms.a]\nobjective = "dcl"\n'
    )
    assert run(["plan", "c.toml"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("panels")]
    assert len(lines) == 1 and "of all computing" in lines[0]
    assert run(["plan", "c.toml"]) == 0
    assert ("more than 10%" in capsys.readouterr().out) is warned
