"""What the command and the figures of losses show, and what they must not."""

import math
from dataclasses import replace

import pytest
from helpers import tiny
from rich.table import Table

import analysis
from analysis.cli import main
from analysis.evaluation.features import Evaluation
from analysis.evaluation.losses import NO_BOUND, classes, figure, losses, table
from analysis.evaluation.losses.forms import form_of, headline_labelling
from coupled.driver.train import train

pytestmark = pytest.mark.kernels
ARMS = {"cl": {"objective": "dcl"}, "fine": {"objective": "nscl", "labelling": "shape"}, "twin": {"kind": "twin"}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tiny(tmp_path_factory.mktemp("runs"), arms=ARMS))


@pytest.fixture(scope="module")
def run(trained):
    return analysis.open_run(trained)


@pytest.fixture(scope="module")
def rows(run, tmp_path_factory):
    return losses(Evaluation(run, size=40, output=tmp_path_factory.mktemp("features")))


def labels_of(axes):
    return {str(line.get_label()) for line in axes.lines}


@pytest.mark.slow
def test_the_command_writes_its_results_and_says_where(trained, capsys):
    assert main(["losses", str(trained), "--samples", "40", "--steps", "0", "6"]) == 0
    out, err = capsys.readouterr()
    names = {"losses.csv", *(f"losses_{s}.{k}" for s in ("split", "batch", "classes") for k in ("png", "svg"))}
    assert {path.name for path in (trained / "analysis").iterdir()} == {*names, "features"}
    assert out.splitlines()[-1] == f"results: {trained}/analysis/ (losses_classes.png losses_classes.svg)"
    assert NO_BOUND in " ".join(out.split()) and err == ""


def test_the_data_set_bound_is_neither_printed_nor_drawn_in_scope_batch(run, rows):
    tables = [part for part in table.printed(run, rows) if isinstance(part, Table)]
    headings = [(str(part.title).split(":")[0], str(part.columns[-1].header)) for part in tables]
    assert headings == [("Scope split", "data\nset"), ("Scope batch", "per\nanchor")] * 2
    of_split, of_batch = (figure.draw(run, rows, scope).axes for scope in ("split", "batch"))
    assert "bound: data set" in labels_of(of_split[1]) and "bound: data set" not in labels_of(of_batch[1])
    assert not any("data set" in label for axes in of_batch for label in labels_of(axes))
    split_panel, batch_panel = classes.draw([(run, rows)]).axes
    assert "bound: data set" in labels_of(split_panel) and "bound: data set" not in labels_of(batch_panel)


def test_every_line_of_a_scope_is_of_its_own_rows(run, rows):
    form, labelling = form_of(run, rows, "shape"), headline_labelling(run, rows)
    assert labelling == "shape" and (form.cl_arm, form.ns_arm) == ("cl", "fine")
    for scope in ("split", "batch"):
        drawn = figure.draw(run, rows, scope).axes[0].lines
        own = [r for r in rows if (r.scope, r.arm, r.split, r.labelling) == (scope, "cl", "test", "shape")]
        values = {str(line.get_label()): list(line.get_ydata()) for line in drawn}
        assert values["dcl"] == [row.of.losses[form.cl] for row in own]
        assert values["nscl"] == [row.of.losses[form.ns] for row in own]


def test_labellings_of_other_sizes_are_drawn_against_their_classes(run, rows):
    assert classes.has_classes([(run, rows)])
    assert not classes.has_classes([(run, [row for row in rows if row.labelling == "size"])])
    split_panel = classes.draw([(run, rows)]).axes[0]
    (gap,) = [line for line in split_panel.lines if line.get_label() == "gap"]
    wanted = [r for r in rows if (r.arm, r.step, r.split, r.scope) == ("cl", 6, "test", "split")]
    points = sorted((row.classes, row.of.gap.gap) for row in wanted)
    assert list(zip(gap.get_xdata(), gap.get_ydata(), strict=True)) == points and len(points) == 2


def test_the_form_is_that_of_the_arm_trained_by_cl(tmp_path):
    arms = {"simclr": {"objective": "nt_xent"}, "nscl": {"objective": "nscl", "positive_in_denominator": True}}
    run = analysis.open_run(train(tiny(tmp_path, arms=arms)))
    rows = losses(Evaluation(run, size=40, steps=[0, 6]))
    form = form_of(run, rows, "size")
    assert form.positive and form.gap(rows[0]) is rows[0].of.gap_with_positive
    assert labels_of(figure.draw(run, rows, "split").axes[0]) >= {"nt xent", "nscl with positive"}


def test_where_nothing_can_be_drawn_the_panels_say_why(run, rows):
    without = [replace(row, share=math.nan) for row in rows if row.step == 6]
    panel = figure.draw(run, without, "split").axes[3]
    assert [text.get_text() for text in panel.texts] == ["step 0 and a later one are needed"]


def one_line(capsys):
    err = capsys.readouterr().err
    assert err.startswith("coupled-analyze: ") and err.count("\n") == 1 and "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--samples 6", "batches of 8; from 2 to the 6 samples of train; set --batch, or --samples"),
        ("--samples 40 --batch 41", "batches of 41; from 2 to the 40 samples"),
        ("--samples 40 --batch 1", "batches of 1; from 2 to the 40 samples"),
        ("--samples 40 --temperature 0", "temperature 0.0; from 1e-30 to 1e+30"),
        ("--steps 5", "no checkpoint at step 5; there are 0, 3, 6"),
    ],
)
def test_a_user_s_mistake_is_one_line(trained, capsys, words, said):
    assert main(["losses", str(trained), *words.split()]) == 2
    assert said in one_line(capsys)


def test_a_title_never_names_another_temperature_than_the_caption(run, tmp_path):
    rows = losses(Evaluation(run, size=40, steps=[0, 6], output=tmp_path), temperature=1.0)
    texts = [text.get_text() for text in figure.draw(run, rows, "split").texts]
    assert [text for text in texts if "τ" in text] == [text for text in texts if "τ = 1 " in f"{text} "] != []


def test_classes_of_an_earlier_call_go(trained, tmp_path, monkeypatch):
    (trained / "analysis").mkdir(exist_ok=True)
    for name in classes.NAMES:
        (trained / "analysis" / name).write_text("old")
    monkeypatch.setattr(classes, "has_classes", lambda of_runs: False)
    assert main(["losses", str(trained), "--samples", "40", "--steps", "6"]) == 0
    assert not any((trained / "analysis" / name).exists() for name in classes.NAMES)
