"""The recorded numbers as an xarray Dataset: every one of them in its place, and nothing in place of what is not."""

import numpy as np
import pytest
from helpers import tiny

import analysis
from analysis.runs import dataset
from coupled.driver.train import train
from coupled.errors import UserError

pytest.importorskip("xarray")


@pytest.fixture(scope="module")
def whole(run):
    return run.to_xarray()


def test_every_recorded_number_is_there_and_nothing_else(run, whole):
    lengths = {"step": 21, "arm": 6, "layer": len(run.facts["layers"]), "variable": len(whole.data_vars) - 1}
    assert dict(whole.sizes) == lengths
    columns = set()
    for name, variable in whole.data_vars.items():
        if name == "recorded":
            continue
        stream, _, column = variable.attrs["column"].partition(": ")
        columns.add((stream, column))
        for place, arm in enumerate(run.arms):
            owner = "shared" if "arm" not in variable.dims else arm
            own = variable if owner == "shared" else variable.isel(arm=place)
            recorded = whole.recorded.sel(variable=name, arm=arm).values
            if column not in run.layout[stream].get(owner, {}):
                assert np.isnan(own).all() and not recorded.any()
                continue
            steps, values = run.column(stream, owner, column)
            assert np.array_equal(own.sel(step=steps).values, values, equal_nan=True)
            assert whole.step.values[recorded].tolist() == steps.tolist()
            assert np.isnan(own.sel(step=~recorded)).all()
    known = {
        (stream, name)
        for stream in ("scalars", "layers", "motion")
        for columns_of in run.layout[stream].values()
        for name, column in columns_of.items()
        if column.dtype == "float64"
    }
    assert columns == known and len(columns) > 20


def test_nan_that_was_recorded_is_told_from_what_was_not(whole):
    cosine = whole.cosine.sel(arm="nscl", step=0)
    assert np.isnan(cosine) and whole.recorded.sel(variable="cosine", arm="nscl", step=0)  # nothing has moved yet
    assert np.isnan(whole.loss.sel(arm="nscl", step=20)) and not whole.recorded.sel(
        variable="loss", arm="nscl", step=20
    )


def test_units_names_and_facts_are_attributes(run, whole):
    assert whole.layer_angle.attrs["units"] == "rad" and whole.layer_angle.dims == ("step", "arm", "layer")
    assert whole["gap.shape"].attrs["long_name"] == "exact loss gap CL − NSCL (shape)"
    assert whole.learning_rate.dims == ("step",) and whole.loss.attrs["at"].startswith("of the batch of this step")
    assert whole.reference.sel(arm="fine") == "nscl" and whole.reference.sel(arm="cl") == ""
    assert whole.attrs["fingerprint"] == run.fingerprint and whole.attrs["seed"] == "0"
    assert all(variable.attrs["long_name"] for variable in whole.variables.values() if variable.attrs)


def test_streams_can_be_chosen(run, whole):
    scalars = run.to_xarray("scalars")
    assert set(scalars.data_vars) < set(whole.data_vars) and "layer" not in scalars.coords
    assert scalars.loss.equals(whole.loss)
    assert run.to_xarray("scalars", "scalars").equals(scalars)
    with pytest.raises(UserError, match="unknown stream of numbers panel; allowed: scalars, layers, motion, ledger"):
        run.to_xarray("panel")
    with pytest.raises(UserError, match="records no ledger; its schedule is empty; train with one"):
        run.to_xarray("ledger")


def test_sparse_streams_share_the_steps_of_the_dense_ones(tmp_path):
    sparse = {"layers": {"every": 0, "steps": [0, 2]}, "motion": {"every": 0}}
    run = analysis.open_run(train(tiny(tmp_path, train={"steps": 4}, record=sparse, arms={"cl": {"objective": "dcl"}})))
    found = run.to_xarray()
    there = found.recorded.sel(variable="layer_norm", arm="cl").values
    assert found.step.values[there].tolist() == [0, 2] and found.sizes["step"] == 5 and "moved" not in found
    assert np.isnan(found.layer_norm.sel(step=1)).all() and (found.layer_norm.sel(step=2) >= 0).all()


def test_an_unfinished_run_has_what_is_committed(spoilt):
    spoilt.keep_lines(lambda entry: entry.last < 10 and "/motion/" not in (entry.name or ""))
    found = analysis.open_run(spoilt.path).to_xarray()
    assert found.step.values[-1] == 9 and found.attrs["finished"] == 0 and "moved" not in found


def test_too_large_and_not_installed_are_one_line(run, monkeypatch):
    monkeypatch.setattr(dataset, "_MOST", 1000)
    with pytest.raises(UserError, match=r"fill .* GB; one Dataset takes .* at most; name streams, such as run\.to_x"):
        run.to_xarray()
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    message = r"to_xarray needs xarray; it is not installed here; pip install 'coupled\[xarray\]'"
    with pytest.raises(UserError, match=message):
        run.to_xarray()
