"""A run that was asked to stop between two checkpoints: its rows in preempt/ are read like what is committed."""

import shutil

import numpy as np
import pytest
from interrupted import Stop, T, config_of, path_of, stopped

from analysis import open_run
from analysis.aggregation.summary import summaries
from analysis.cli import main
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.store import StoreError, read_manifest
from coupled.verification import verify

COLUMNS = [
    ("scalars", "nscl", "batch.loss"),
    ("scalars", "nscl", "state.norm"),
    ("scalars", "shared", "batch.chain"),
    ("panel", "cl", "state.h"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(config_of(folder))
    return path_of(folder)


def partial(folder, step):
    stopped(config_of(folder), Stop(step))
    return path_of(folder)


@pytest.mark.parametrize("step", [2, 4, 7])  # before the first checkpoint that closes shards, and behind two others
def test_every_step_before_the_stop_is_there_as_in_the_run_that_was_never_stopped(whole, tmp_path, step):
    run, other = open_run(partial(tmp_path, step)), open_run(whole)
    assert run.steps == step - 1
    for stream, owner, name in COLUMNS:
        (steps, values), (all_steps, all_values) = run.column(stream, owner, name), other.column(stream, owner, name)
        assert steps.tolist() == [s for s in all_steps if s < step]
        assert np.array_equal(values, all_values[all_steps < step])
    assert np.array_equal(run.fixed("panel", "fixed.ids"), other.fixed("panel", "fixed.ids"))


def test_curves_are_of_every_step_and_the_report_ends_with_the_last(tmp_path, capsys):
    run = partial(tmp_path, 4)
    assert main(["curves", str(run)]) == 0
    rows = (run / "analysis" / "curves.csv").read_text().splitlines()[1:]
    assert {int(row.split(",")[0]) for row in rows} == {0, 1, 2, 3}
    assert main(["report", str(run)]) == 0
    page = (run / "analysis" / "report.html").read_text()
    cards = page[page.index('<div class="cards">') :].partition("</section>")[0]
    assert "step 3" in cards
    capsys.readouterr()


def test_cards_of_a_run_that_stopped_between_panels_show_the_last_one(tmp_path, capsys):
    run = partial(tmp_path, 6)
    assert main(["report", str(run)]) == 0
    page = (run / "analysis" / "report.html").read_text()
    card = page[page.index('<div class="cards">') :].partition("</section>")[0]
    assert "step 5 against cl" in card and "CKA, step 3</dt>" in card and "<dt>weight gap</dt>" in card
    assert "<b>–</b>" not in card
    capsys.readouterr()


def test_what_is_verified_and_what_is_gone_on_with_stays_as_it_was(whole, tmp_path):
    run = partial(tmp_path, 4)
    verify(run)
    open_run(run).verify()
    train(config_of(tmp_path))
    assert (run / "manifest.jsonl").read_bytes() == (whole / "manifest.jsonl").read_bytes()
    assert open_run(run).steps == T


def test_rows_that_have_been_committed_since_are_not_counted_twice(whole, tmp_path):
    run = partial(tmp_path / "a", 4)
    train(config_of(tmp_path / "b"))
    later = path_of(tmp_path / "b")
    shutil.copytree(run / "preempt", later / "preempt")
    # As a run at work leaves it that went on from there and has closed its shards.
    lines = (later / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (later / "manifest.jsonl").write_bytes(b"".join(lines[:-1]))
    assert not read_manifest(later / "manifest.jsonl").finished
    steps, _ = open_run(later).column("scalars", "cl", "state.norm")
    assert steps.tolist() == list(range(T + 1))


def test_a_summary_is_made_again_where_the_run_has_stopped_again_with_nothing_committed_between(tmp_path):
    run = partial(tmp_path, 6)
    assert summaries([run])[0].about["last"] == 5
    before = (run / "manifest.jsonl").read_bytes()
    stopped(config_of(tmp_path), Stop(7))
    assert (run / "manifest.jsonl").read_bytes() == before
    assert summaries([run])[0].about["last"] == 6


def test_damaged_rows_are_named_when_they_are_read(tmp_path):
    run = partial(tmp_path, 4)
    file = next((run / "preempt").rglob("open.rows.cl.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    opened = open_run(run)
    with pytest.raises(StoreError, match="open.rows.cl.safetensors"):
        opened.column("scalars", "cl", "state.norm")


def test_a_state_that_was_not_written_whole_does_not_count(tmp_path):
    run = partial(tmp_path, 2)
    next((run / "preempt").rglob("state.json")).unlink()
    assert open_run(run).steps is None
    with pytest.raises(UserError):
        open_run(run).column("scalars", "cl", "state.norm")
