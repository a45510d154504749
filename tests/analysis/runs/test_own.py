"""A stream of one's own, read where its code is not."""

import own_functions
import pytest
from interrupted import config_of
from own_functions import RECORD

import analysis
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.streams import known


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    own_functions.register()
    path = train(config_of(tmp_path_factory.mktemp("own"), train={"steps": 2}, record={"own": RECORD}))
    own_functions.withdraw()
    return analysis.open_run(path)


def test_a_stream_of_numbers_is_a_curve(run):
    assert known() == []
    curve = run.curve("own.rank", arm="cl")
    assert (curve.measure, curve.steps.tolist(), curve.source, curve.n) == ("own.rank", [0, 1], "batch", 16)
    assert curve.values.tolist() == run.column("own.rank", "cl", "batch.value")[1].tolist()


def test_a_stream_of_tensors_is_steps_and_values(run):
    steps, values = run.own("centres", arm="nscl")
    assert steps.tolist() == [0, 1, 2] and values.shape == (3, 2, run.row_shape("panel", "cl", "state.h")[1])


def test_numbers_of_arms_and_layers_are_variables_of_the_dataset(run):
    pytest.importorskip("xarray")
    whole, alone = run.to_xarray(), run.to_xarray("own.norms", "own.norms", "own.rank")
    assert set(alone.data_vars) == {"own.norms", "own.rank", "recorded"} and "own.centres" not in whole
    assert alone["own.norms"].dims == ("step", "arm", "layer") and len(alone.variable) == 2
    assert whole["own.rank"].sel(arm="cl", step=[0, 1]).values.tolist() == run.own("rank", arm="cl")[1].tolist()
    norms = whole["own.norms"].sel(step=0)
    assert norms.sel(arm="nscl").values.tolist() == run.own("norms", arm="nscl")[1][0].tolist()
    assert norms.sel(arm="cl").isnull().all() and not whole.recorded.sel(variable="own.norms", arm="cl").any()
    assert "units" not in norms.attrs and norms.attrs["column"] == "own.norms: batch.value"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda run: run.curve("own.centres", arm="cl"),
            r"shape \(2, 32\); a curve is of numbers; use run\.own",
        ),
        (lambda run: run.curve("own.rnak", arm="cl"), r"unknown stream own\.rnak; .*did you mean own\.rank\?"),
        (lambda run: run.curve("rank", arm="cl"), r"unknown measure rank; .*own\.rank.*did you mean own\.rank\?"),
        (lambda run: run.curve("own.rank", arm="cl", feature="h"), r"own\.rank takes no feature"),
        (
            lambda run: run.to_xarray("own.centres"),
            r'own\.centres has rows of shape \(2, 32\); .* or one by layer; use run\.own\("centres", …\)',
        ),
        (lambda run: run.to_xarray("own.rnak"), r"unknown stream of numbers own\.rnak; .*did you mean own\.rank\?"),
        (lambda run: run.own("norms", arm="cl"), r"own\.norms of cl; it is recorded of nscl"),
        (lambda run: run.own("rank", arm="c"), "unknown arm c"),
    ],
)
def test_what_is_not_there_is_one_line(run, ask, message):
    with pytest.raises(UserError, match=message):
        ask(run)


def test_a_run_without_any_says_so(tmp_path):
    path = train(config_of(tmp_path, train={"steps": 1}))
    with pytest.raises(UserError, match=r"has no stream own\.rank; its config has no \[record\.own\]"):
        analysis.open_run(path).own("rank", arm="cl")
