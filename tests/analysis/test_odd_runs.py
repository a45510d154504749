"""Legal runs at the edge of what there is: every analysis gives what it can, and says what it cannot."""

import pytest
from helpers import tables, tiny

import analysis
from analysis.report import report
from analysis.report.content import content_of
from analysis.report.wording import vacuity
from coupled.config import from_tables
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.planning.class_shares import class_shares


@pytest.mark.parametrize("size", [4, 12])
def test_a_panel_too_small_for_neighbours_leaves_them_out(tmp_path, size):
    run = analysis.open_run(train(tiny(tmp_path, train={"steps": 2}, panel={"size": size})))
    measures = {curve.measure for curve in analysis.curves(run)}
    assert "cka" in measures and "knn_overlap" not in measures
    assert report([run]).is_file()
    with pytest.raises(UserError, match="neighbours"):
        run.curve("knn_overlap", arm="nscl")


def test_two_twins_of_one_run_are_no_two_seeds(tmp_path):
    arms = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, "a": {"kind": "nudged"}}
    arms["b"] = {"kind": "nudged", "draw": 2}
    run = analysis.open_run(train(tiny(tmp_path, train={"steps": 2}, arms=arms)))
    content = content_of([run])
    every = [*content.curves, *content.bounds, *content.divergence]
    assert every and not [curve for curve in every if "seeds" in curve.estimator]


def test_vacuity_is_counted_at_the_bounds_own_steps(trained):
    found = analysis.bounds(analysis.open_run(trained))
    bound = next(curve for curve in found if curve.bound == "free")
    limit = next(curve for curve in found if curve.bound == "trivial limit" and curve.measure == "drift")
    small = type(limit)(**{**vars(limit), "values": limit.values * 0 + bound.values[5] * 0.999})
    assert bound.steps[5] not in limit.steps
    assert vacuity(bound, [small]) == "step 5"


def test_shares_that_cannot_be_known_are_not_made_up(tmp_path):
    made = tables(paths={"runs": str(tmp_path)})
    made["data"] = {"name": "cifar100", "labelling": "fine", "classes": [3, 5, 7]}
    with pytest.raises(UserError, match="class shares of coarse; not known without the images"):
        class_shares(from_tables(made), "coarse")


def test_shares_that_are_assumed_keep_the_size_of_the_data_set(tmp_path):
    shares = class_shares(tiny(tmp_path, data={"name": "imagenet", "labelling": "class"}, views={"size": 32}), "class")
    assert "assumed equal" in shares.known_from and shares.largest == 1 / 1000
    assert shares.size == pytest.approx(1_281_167, rel=1e-3)
