"""`coupled-analyze`: tables, files, exit codes and one-line errors."""

import pytest

import analysis
from analysis.cli import main
from analysis.curves import table
from analysis.runs.numbers import ABSENT


def test_curves_writes_the_results_and_says_where(spoilt, capsys):
    assert main(["curves", str(spoilt.path)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"results: {spoilt.path}/analysis/ (curves.csv curves.png curves.svg)"
    assert {path.name for path in (spoilt.path / "analysis").iterdir()} == {"curves.csv", "curves.png", "curves.svg"}
    assert err == ""


def test_the_table_compares_every_arm_but_the_first(trained):
    run = analysis.open_run(trained)
    rows = table.rows(run, analysis.curves(run))
    assert [(row.arm, row.step) for row in rows[:4]] == [("nscl", 10), ("nscl", 20), ("fine", 10), ("fine", 20)]
    assert "cl" not in {row.arm for row in rows}
    row = rows[0]
    assert row.cka == run.curve("cka", arm="nscl").at(10) and row.loss == run.curve("loss", arm="nscl").at(10)
    assert rows[1].loss is None and rows[1].cells()[-1] == ABSENT


def test_an_exact_zero_reads_as_one_and_undefined_is_a_word():
    cells = table.Row("twin", "cl", 1000, 0.0, float("nan"), -0.25, 1.5).cells()
    assert cells == ["twin", "cl", "1,000", "0", "undefined", "-0.2500", "1.5000"]


def test_markdown_is_a_table_and_nothing_else_on_stdout(trained, capsys):
    assert main(["curves", str(trained), "--markdown"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "**tiny: shapes, B = 16, float32, seed 0**"
    assert lines[2] == "| arm | reference | step | weight gap | CKA | RSA | own loss |"
    assert all(line.count("|") == 8 for line in lines[2:-2]) and "n = 32 test images" in lines[-1]
    assert err.startswith("results: ")


def test_on_a_narrow_terminal_no_number_is_cut(trained, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    main(["curves", str(trained)])
    out = capsys.readouterr().out
    numbers = [line for line in out.splitlines() if line.startswith("│")]
    assert len(numbers) == 10 and "…" not in "".join(numbers) and "independent" in out


def test_an_unfinished_run_is_a_result_that_says_so(spoilt, capsys):
    spoilt.keep_lines(lambda entry: entry.last < 10)
    assert main(["curves", str(spoilt.path)]) == 0
    assert "UNFINISHED, records up to step 9 of 20" in capsys.readouterr().out.replace("\n", " ")


def test_a_twin_that_is_not_exact_is_a_warning(spoilt, capsys):
    def move(tensors):
        tensors["state.distance"][:] = 1e-9

    spoilt.rewrite(spoilt.shard("scalars", "twin", 1), move)
    assert main(["curves", str(spoilt.path)]) == 0
    assert "warning: twin is no exact twin: it left cl at step 1" in capsys.readouterr().err


def one_line(capsys):
    err = capsys.readouterr().err
    assert err.startswith("coupled-analyze: ") and err.count("\n") == 1 and "Traceback" not in err
    return err


def test_a_users_mistake_is_one_line_and_exit_code_2(trained, capsys):
    assert main(["curves", str(trained), str(trained.with_name("tin"))]) == 2
    assert "did you mean" in one_line(capsys)


def test_a_damaged_run_is_one_line_and_exit_code_3(spoilt, capsys):
    shard = spoilt.shard("panel", "nscl", 1)
    shard.write_bytes(shard.read_bytes()[:-1])
    assert main(["curves", str(spoilt.path)]) == 3
    assert "panel/nscl" in one_line(capsys)


def test_results_that_cannot_be_written_are_exit_code_3(spoilt, capsys):
    (spoilt.path / "analysis").write_text("in the way")
    assert main(["curves", str(spoilt.path)]) == 3
    assert "curves.csv" in one_line(capsys)


def test_a_twin_with_another_projector_is_a_warning(strayed, capsys):
    assert main(["curves", str(strayed)]) == 0
    assert "warning: twin is no exact twin: it left cl at step 0; the run was not in" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["curves"], ["curve", "x"]])
def test_wrong_usage_is_one_line(arguments, capsys):
    assert main(arguments) == 2
    assert "--help" in one_line(capsys)


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "usage: coupled-analyze" in capsys.readouterr().out
