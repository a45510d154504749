"""A user's own measures: called with what they ask for, shown like the built-in ones, never shown stale."""

import csv
import re
import shutil
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny
from matplotlib.figure import Figure

import analysis
from analysis.aggregation.gap import Gap
from analysis.cli import main
from analysis.curves import figure, table
from analysis.report import combine, page
from analysis.report.gather import Gathered
from analysis.runs import own_measures, register
from analysis.runs.register import TAKEN, execute
from coupled.address import Purpose, permutation
from coupled.driver.train import train
from coupled.errors import UserError

PAGE = (Path(__file__).parents[3] / "docs/own_code.md").read_text()
EXAMPLE = re.search(r"```python\n# mine\.py, (.*?)```", PAGE, re.DOTALL)
HEAD = "import numpy as np, analysis\n"
MINE = HEAD + "@analysis.register_measure('mine')\ndef mine(x, y):\n    return {}\n"


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch):
    # Figures are not painted: it takes most of a command's time.
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write(b"painted"))
    yield
    execute([])
    own_measures.registered.clear()


@pytest.fixture
def opened(trained):
    """The run without what others have asked it for."""
    return analysis.open_run(trained)


@pytest.fixture
def own(trained, tmp_path):
    """A copy of the run that results may be written into."""
    return Path(shutil.copytree(trained, tmp_path / "own", ignore=shutil.ignore_patterns("analysis")))


def slope(x, y):
    return float((x * y).sum() / (y * y).sum())


def rows_of_csv(path, measure):
    with (path / "analysis/curves.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["measure"] == measure]


def test_a_measure_gets_the_features_of_arm_and_reference_in_float64(opened):
    seen = []

    @analysis.register_measure("slope", bands=False)
    def measure(x, y):
        seen.append((type(x), x.dtype, x.shape, y.shape))
        return slope(x, y)

    curve = opened.curve("slope", arm="fine")
    own, other = (opened.column("panel", arm, "state.h")[1].astype(float) for arm in ("fine", "nscl"))
    assert np.array_equal(curve.values, [slope(x, y) for x, y in zip(own, other, strict=True)])
    assert set(seen) == {(np.ndarray, np.dtype("float64"), (32, 32), (32, 32))}
    assert (curve.reference, curve.feature, curve.source, curve.n, curve.interval) == ("nscl", "h", "panel", 32, None)
    assert opened.curve("slope", arm="fine", reference="cl").reference == "cl"


def test_tensors_are_given_where_they_are_asked_for_and_may_be_changed(opened):
    @analysis.register_measure("norm", tensors=True)
    def measure(x, y):
        assert x.dtype == torch.float64
        return x.sub_(y).norm()  # in place: the next call gets features of its own

    curve, x, y = opened.curve("norm", arm="nscl"), *(opened.column("panel", a, "state.h")[1] for a in ("nscl", "cl"))
    assert np.allclose(curve.values, np.linalg.norm(x.astype(float) - y, axis=(1, 2)), rtol=1e-12, atol=0)


def test_z_is_of_norm_1_and_batches_have_their_own_labels_twice(opened):
    asked = {}

    @analysis.register_measure("seen", feature="z", bands=False)
    def measure(x, y, labels):
        assert np.allclose(np.linalg.norm(x, axis=1), 1, atol=1e-12)
        asked["labels"] = labels
        return 0

    assert opened.curve("seen", arm="nscl").labelling == "shape"
    assert np.array_equal(asked["labels"], opened.fixed("panel", "fixed.labels.shape"))
    of_batch = opened.curve("seen", arm="fine", source="batch", labelling="shape")
    last = opened.row("similarity", "shared", "batch.labels.shape", int(of_batch.steps[-1]))
    assert of_batch.labelling == "shape" and np.array_equal(asked["labels"], np.tile(last, 2))
    opened.curve("seen", arm="fine", source="surrogate")
    assert np.array_equal(asked["labels"], np.tile(opened.fixed("surrogate", "fixed.labels.shape*colour"), 2))
    with pytest.raises(UserError, match="unknown labelling of this run hue; allowed: shape, "):
        opened.curve("seen", arm="nscl", labelling="hue")


def test_interval_and_null_band_are_those_of_a_literal_loop(opened):
    @analysis.register_measure("slope")
    def measure(x, y, labels):
        return slope(x, y) + float((labels[:, None] * x * y).sum())  # which x the labels go with matters

    curve = opened.curve("slope", arm="nscl", source="batch")
    x, y = (opened.column("similarity", arm, "batch.z")[1][7].astype(float) for arm in ("nscl", "cl"))
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    labels = np.tile(opened.row("similarity", "shared", "batch.labels.shape", 7), 2)
    rest = []
    for group in range(8):
        kept = [view * 16 + i for view in range(2) for i in range(16) if i % 8 != group]
        rest.append(measure(x[kept], y[kept], labels[kept]))
    error = np.sqrt(7 / 8 * sum((value - np.mean(rest)) ** 2 for value in rest))
    value, quantile = measure(x, y, labels), 2.3646242515927853  # Student's t, 7 degrees of freedom, 97.5 %
    assert curve.at(7) == pytest.approx(value, abs=1e-12)
    assert curve.interval.high[7] == pytest.approx(value + quantile * error, abs=1e-12)
    assert curve.interval.low[7] == pytest.approx(value - quantile * error, abs=1e-12)
    orders = [permutation(0, Purpose.PERMUTATION, 16, a=key).numpy() for key in range(16)]
    null = [measure(x, y[np.concatenate([order, order + 16])], labels) for order in orders]
    assert curve.null.low[7] == pytest.approx(np.mean(null) - 1.96 * np.std(null, ddof=1), abs=1e-12)
    assert "8 groups of samples" in curve.interval.what and "16 re-pairings" in curve.null.what


def test_not_a_number_is_a_gap_that_says_why(own, tmp_path):
    (tmp_path / "mine.py").write_text(MINE.format("np.nan if abs(x - y).max() == 0 else 1"))
    assert main(["curves", str(own), "--code", str(tmp_path / "mine.py")]) == 0
    twin = [row for row in rows_of_csv(own, "mine") if row["arm"] == "twin"]
    cells = {tuple(row[column] for column in ("value", "low", "null_low", "note")) for row in twin}
    assert cells == {("", "", "", "the measure gave NaN")}


def test_infinity_stays_and_has_no_interval(opened):
    analysis.register_measure("mine")(lambda x, y: np.inf)
    curve = opened.curve("mine", arm="nscl")
    assert np.isposinf(curve.values).all() and np.isnan(curve.interval.low).all() and np.isnan(curve.null.high).all()
    count = len(curve.steps)
    assert curve.flags[0].startswith(f"no interval, or no null band, at {count} of {count} steps: there the measure")


def test_a_null_band_that_one_pairing_takes_away_is_said(opened):
    asked = iter(range(10**6))
    analysis.register_measure("mine")(lambda x, y: 1.0 if np.array_equal(x, y) or next(asked) < 40 else np.nan)
    curve = opened.curve("mine", arm="nscl")
    assert np.isnan(curve.null.low).any() and "or with samples paired at random" in curve.flags[0]
    analysis.register_measure("mine")(lambda x, y: float((x[0] * y[0]).sum()))
    assert opened.curve("mine", arm="nscl").flags == ()


def test_it_is_in_the_table_the_figure_and_the_csv_of_the_command(own, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE.format("(x * y).mean()"))
    assert main(["curves", str(own), "--markdown", "--code", str(tmp_path / "mine.py")]) == 0
    out = capsys.readouterr().out
    assert "| own loss | mine |" in out and len({line.count("|") for line in out.splitlines()[2:-2]}) == 1
    run = analysis.open_run(own)
    rows = rows_of_csv(own, "mine")
    x, y = (run.row("panel", arm, "state.h", 10).astype(float) for arm in ("fine", "nscl"))
    (row,) = (row for row in rows if (row["arm"], row["step"]) == ("fine", "10"))
    assert float(row["value"]) == pytest.approx((x * y).mean(), rel=1e-14) and row["reference"] == "nscl"
    assert re.fullmatch(r"mine\.py, SHA-256 [0-9a-f]{12}", row["estimator"]) and row["low"] and row["null_low"]
    assert {row["arm"] for row in rows} == set(run.arms) - {"cl"}
    assert main(["curves", str(own)]) == 0 and not rows_of_csv(own, "mine")  # no file, no measure


def test_every_measure_has_a_panel_in_the_figure(opened):
    for name in ("one", "two", "three"):
        analysis.register_measure(name, bands=name == "two")(lambda x, y: float(x[0, 0]))
    found = [opened.curve(name, arm=arm) for name in ("one", "two", "three") for arm in ("nscl", "fine")]
    drawn = figure.draw(opened, found)
    panels = drawn.axes[-3:]
    assert [axes.get_title() for axes in panels] == ["e  one", "f  two", "g  three"]
    assert all(any(np.array_equal(line.get_ydata(), c.values) for line in panels[0].lines) for c in found[:2])
    assert [len(axes.containers) for axes in panels] == [0, 2, 0]  # the bars of each arm
    assert drawn.get_figheight() > figure.draw(opened, []).get_figheight()
    assert table.columns(found)[-3:] == ["one", "two", "three"]


def test_the_report_has_a_chart_of_it_and_says_how_it_was_made(opened, tmp_path):
    (tmp_path / "mine.py").write_text(MINE.format("(x * y).mean()"))
    execute([tmp_path / "mine.py"])
    curves, own = [opened.curve("mine", arm="nscl")], own_measures.registered["mine"]
    html = page(combine([Gathered(opened, curves, own=(own,))]))
    assert 'id="plot-own"' in html and "--code mine.py" in html and str(tmp_path) not in html
    assert own.sha256 in html
    assert "plot-own" not in page(combine([Gathered(opened, [])]))


@pytest.mark.slow
def test_the_command_report_takes_it(own, tmp_path):
    (tmp_path / "mine.py").write_text(MINE.format("(x * y).mean()"))
    assert main(["report", str(own), "--code", str(tmp_path / "mine.py")]) == 0
    html = (own / "analysis/report.html").read_text()
    assert "plot-own" in html and own_measures.registered["mine"].sha256 in html and rows_of_csv(own, "mine")


def test_a_sweep_does_not_take_it(own, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(import_module("analysis.commands.report"), "is_sweep", lambda path: True)
    assert main(["report", str(own), "--code", str(tmp_path / "mine.py")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"coupled-analyze: --code; {own} is a sweep: ") and err.count("\n") == 1


def test_over_seeds_it_is_a_mean_with_a_range(opened):
    analysis.register_measure("slope")(slope)
    curve = opened.curve("slope", arm="nscl")
    both = analysis.over_seeds([curve, opened.curve("slope", arm="nscl")])
    assert np.array_equal(both.values, curve.values) and both.interval.what == "range over 2 seeds"


def test_an_edited_file_never_shows_old_values(own, tmp_path):
    run, file = analysis.open_run(own), tmp_path / "mine.py"
    values, files, estimators = [], [], []
    for text in ("1", "2"):
        file.write_text(MINE.format(text))
        execute([file])
        curve = run.curve("mine", arm="nscl")
        (summary,) = analysis.summaries([own], ["mine"])
        values.append((curve.at(10), summary.series("mine", "nscl")[1][0]))
        estimators.append(curve.estimator)
        files.append({path.name for path in (own / "analysis/summary").iterdir()})
    assert values == [(1.0, 1.0), (2.0, 2.0)] and estimators[0] != estimators[1]
    assert files[0] < files[1]
    kept = analysis.summaries([own], ["mine"])
    assert len(list((own / "analysis/summary").iterdir())) == 2 and kept[0].series("mine", "nscl")[1][0] == 2


def test_what_a_notebook_defines_is_kept_in_no_file(own, monkeypatch):
    monkeypatch.setattr(register, "calling_file", lambda: "__main__")
    analysis.register_measure("mine")(lambda x, y: 1)
    run = analysis.open_run(own)
    assert run.curve("mine", arm="nscl").at(0) == 1
    assert analysis.summaries([own], ["mine"])[0].series("mine", "nscl")[1][0] == 1
    assert not (own / "analysis").exists()
    analysis.register_measure("mine")(lambda x, y: 2)  # the cell, run again
    assert run.curve("mine", arm="nscl").at(0) == 2
    assert isinstance(analysis.summaries([own], ["mine"])[0].series("mine", "cl"), Gap)
    assert run.curve("mine", arm="nscl").estimator == "a notebook or script"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("1 / 0", r"mine\.py\) fails at step 0 of nscl; ZeroDivisionError: division by zero"),
        ("np.zeros(3)[4]", "fails at step 0 of nscl; IndexError: "),
        ("1 if len(x) == 32 else 1 / 0", "fails at step 0 of nscl with a group of samples left out; ZeroDivisionError"),
        ("x", r"gave float64 values of shape \(32, 32\) at step 0 of nscl; a measure gives one real number"),
        ("None", "gave nothing at step 0"),
        ("True", r"gave True \(bool\) at step 0"),
        ("1j", r"gave 1j \(complex\)"),
        ("np.random.rand()", "and then .* at step 0 of nscl; equal features need equal numbers"),
        ("exit(0)", "SystemExit: 0"),
        ("analysis.linear_cka(x, y[1:])", "fails at step 0 of nscl; UserError: "),
        ("int('1\\n2')", "ValueError: "),
    ],
)
def test_a_measure_that_fails_is_one_line_with_file_measure_step_and_error(body, said, own, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE.format(body))
    assert main(["curves", str(own), "--code", str(tmp_path / "mine.py")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("coupled-analyze: measure mine (") and re.search(said, err)
    assert not (own / "analysis").exists()
    with pytest.raises(UserError, match="measure mine"):
        analysis.summaries([own], ["mine"])  # no gap, as what is not recorded is


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINE.replace("'mine'", "'cka'"), "measure name cka of .*; a curve that is built in has it; choose another"),
        (MINE.replace("'mine'", "'rsa_spearman'"), "measure name rsa_spearman of"),
        (MINE.replace("'mine'", "'my-own'"), "measure name 'my-own'; a letter"),
        (MINE.replace("('mine')", ""), "register_measure without a name"),
        (MINE.replace("'mine'", "'mine', feature='g'"), "unknown feature g; allowed: h, z, stage"),
        (MINE.replace("(x, y)", "(x)"), r"measure mine takes \(x\); a measure takes \(x, y\) or \(x, y, labels\)"),
        (HEAD + "analysis.register_measure('mine')(3)", "measure mine is 3; a function of x and y is needed"),
        (HEAD, "--code: .*mine.py registers no measure"),
        ("1 / 0", "--code: .*mine.py fails; ZeroDivisionError"),
        (None, "--code: .*mine.py cannot be read"),
    ],
)
def test_a_file_that_registers_nothing_good_is_one_line(text, said, trained, tmp_path, capsys):
    if text is not None:
        (tmp_path / "mine.py").write_text(text.replace("{}", "1"))
    assert main(["curves", str(trained), "--code", str(tmp_path / "mine.py")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(said, err)


def test_two_files_cannot_have_one_name(tmp_path):
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(MINE.format("1"))
    with pytest.raises(UserError, match=r"measure name mine of .*b\.py; .*a\.py has registered it; choose another"):
        execute([tmp_path / "a.py", tmp_path / "b.py"])
    execute([tmp_path / "b.py"])
    execute([tmp_path / "b.py", tmp_path / "b.py"])  # again is no other file
    assert list(own_measures.registered) == ["mine"]


def test_every_name_that_a_curve_has_is_taken(run, found):
    names = {
        c.measure for c in (*found, *analysis.bounds(run), *analysis.divergence(run), *analysis.response(run).curves)
    }
    assert names <= TAKEN and "cka" in names


def test_a_run_without_a_panel_says_what_is_not_measured(tmp_path):
    off = {"every": 0, "log": 0, "last": False}
    arms = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}
    config = tiny(tmp_path, train={"steps": 1}, record={"panel": off}, arms=arms)
    run = analysis.open_run(train(config))
    analysis.register_measure("mine")(lambda x, y: 1)
    found = analysis.curves(run)
    assert "mine" not in {curve.measure for curve in found}
    assert "mine is not measured: the run records no panel." in table.notes(run, found)


def test_stages_that_are_not_recorded_are_said_not_to_be_measured(opened):
    analysis.register_measure("deep", feature="stage.1")(lambda x, y: 1)
    assert "deep is not measured: stage.1 of panel; recorded are" in table.notes(opened, analysis.curves(opened))


def test_unknown_measures_and_options_name_ones_own(opened):
    analysis.register_measure("mine")(lambda x, y: 1)
    with pytest.raises(UserError, match="unknown measure mime; .*; did you mean mine?"):
        opened.curve("mime", arm="nscl")
    with pytest.raises(UserError, match="mine takes no labelling; it takes reference, source, feature"):
        opened.curve("mine", arm="nscl", labelling="shape")


def test_the_example_of_the_page_runs_as_it_stands(own, tmp_path):
    assert EXAMPLE is not None
    (tmp_path / "mine.py").write_text(f"# {EXAMPLE[1]}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["curves", str(own), "--code", str(tmp_path / "mine.py")]) == 0
    assert {row["arm"] for row in rows_of_csv(own, "mean_cosine")} == {"nscl", "fine", "twin", "nudged", "independent"}
    assert all(
        float(row["value"]) == pytest.approx(1) for row in rows_of_csv(own, "mean_cosine") if row["arm"] == "twin"
    )
