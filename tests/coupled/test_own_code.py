"""The examples of docs/own_code.md, run as they stand, and what can go wrong with a user's files."""

import re
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from helpers import tables

import analysis
import coupled
from coupled.cli import main
from coupled.config import digest, from_resolved, from_tables, resolved
from coupled.config.user_code import execute
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.reading.export import export
from coupled.store import open_tensors
from coupled.verification import verify

TEXT = (Path(__file__).parents[2] / "docs/own_code.md").read_text()
EXAMPLES = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def files(tmp_path):
    for name, text in EXAMPLES:
        (tmp_path / name).write_text(text)
    return {name: str(tmp_path / name) for name, _ in EXAMPLES}


def test_the_page_has_all_examples():
    assert [name for name, _ in EXAMPLES] == ["decoupled.py", "blobs.py", "patches.py", "looks.py"]


def test_the_pages_streams_are_recorded_and_read_as_it_says(files, tmp_path):
    text = re.search(r"```toml\n# looks.toml\n(.*?)```", TEXT, re.DOTALL)
    small = "batches.size = 8\nviews.size = 12\nmodel.width = 4\ntrain.steps = 3\n"
    small += "panel = { size = 16, surrogate_size = 4 }\n"
    arms = '[arms.cl]\nobjective = "dcl"\n[arms.nscl]\nobjective = "nscl"\n'
    (tmp_path / "looks.toml").write_text(small + text[1] + arms)
    path = coupled.train(tmp_path / "looks.toml", {"paths.runs": str(tmp_path)}, reporter=None)
    execute([])
    run = analysis.open_run(path)
    z = run.column("similarity", "nscl", "batch.z")[1].astype(float)
    literal = [1 / sum((a @ b / len(factor)) ** 2 for a in factor for b in factor) for factor in z]
    assert run.curve("own.directions", arm="nscl").values == pytest.approx(literal, rel=1e-5)
    steps, values = run.own("centres", arm="nscl")
    assert steps.tolist() == [0, 1, 2, 3] and values.shape == (4, 2, run.row_shape("panel", "cl", "state.h")[1])
    gradients = run.own("gradients", arm="nscl")[1]
    assert (gradients[0] <= run.column("layers", "nscl", "batch.gradient_norm")[1][0] * (1 + 1e-6)).all()


def own(files, tmp_path, **sections):
    return from_tables(
        tables(
            code={"files": list(files.values())},
            data={"name": "blobs", "labelling": "side"},
            paths={"runs": str(tmp_path)},
            arms={"cl": {"objective": "dcl"}, "hinge": {"objective": "hinge"}},
            **sections,
        )
    )


def test_a_users_objective_and_data_set_train_and_are_recorded(files, tmp_path):
    path = train(own(files, tmp_path))
    shard = open_tensors(next((path / "records/scalars/cl").iterdir()))
    assert shard["batch.loss_of.hinge"].shape == shard["batch.loss"].shape
    assert (shard["batch.loss_of.hinge"] > 0).all()


def test_an_edited_file_is_another_run(files, tmp_path):
    before = digest(own(files, tmp_path))
    Path(files["decoupled.py"]).write_text(Path(files["decoupled.py"]).read_text() + "# edited\n")
    assert digest(own(files, tmp_path)) != before


def test_a_file_whose_name_begins_like_a_home_folder_is_named_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("~mine.py").write_text("")
    Path("x.toml").write_text('code.files = ["./~mine.py"]\n[arms.cl]\nobjective = "dcl"\n')
    assert coupled.load("x.toml").code.files == ("./~mine.py",)


def test_reading_a_run_back_runs_no_code(files, tmp_path):
    config = own(files, tmp_path)
    for file in files.values():
        Path(file).write_text("raise SystemExit")
    again = from_resolved(resolved(config))
    assert digest(again) == digest(config)


def test_a_run_of_own_code_can_be_exported_without_the_code(files, tmp_path):
    path = train(own(files, tmp_path))
    execute([])
    written = export(path, "hinge")
    assert "encoder.stem.weight" in open_tensors(written)


def test_a_run_of_own_code_is_verified_without_the_code_and_trained_again_with_it(files, tmp_path):
    path = train(own(files, tmp_path))
    execute([])
    findings = verify(path)
    assert any("views: not made again" in word and "code.files is empty" in word for word in findings.unproven)
    assert "own code" in str(verify(path, replay=1).stopped["trained again"])
    named = " --code FILE.py" * 4
    assert findings.again.verify == named and "code.files=" in findings.again.resume
    assert any("trained again" in word for word in verify(path, replay=1, code=list(files.values())).proven)


def test_the_next_command_on_a_run_of_own_code_has_the_code(files, tmp_path, capsys):
    path = train(own(files, tmp_path))
    given = [word for file in files.values() for word in ("--code", str(file))]
    assert main(["verify", str(path), *given]) == 0
    assert capsys.readouterr().out.endswith(f"next: coupled-run verify {path} {' '.join(given)} --replay 3\n")
    damaged = next(path.glob("records/panel/*/steps-*.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    assert main(["verify", str(path), *given]) == 3
    told = capsys.readouterr().err
    assert re.search(r" --from \d --set 'code.files=\[", told) and all(str(file) in told for file in files.values())


def test_a_run_of_own_code_that_goes_on_without_it_says_how_to_give_it(files, tmp_path, capsys):
    path = train(own(files, tmp_path))
    gone, digest = Path(files["blobs.py"]), sha256(Path(files["blobs.py"]).read_bytes()).hexdigest()[:12]
    moved, resume = gone.rename(tmp_path / "moved.py"), ["resume", str(path), "--from", "3"]
    assert main(resume) == 2
    told = capsys.readouterr().err
    assert "given are no code.files; it goes on with the 4 files, in this order, of SHA-256" in told and digest in told
    assert told.endswith("give the run's own files: --set \"code.files=['FILE.py']\"\n") and told.count("\n") == 1
    assert main([*resume, "--set", f"code.files={list(files.values())}"]) == 2
    assert f"{gone} cannot be read; No such file" in capsys.readouterr().err
    given = [str(moved) if file == str(gone) else file for file in files.values()]
    assert main([*resume, "--set", f"code.files={given[::-1]}"]) == 2
    assert f"moved.py ({digest})" in capsys.readouterr().err
    assert main([*resume, "--set", f"code.files={given}"]) == 0


def test_two_configs_each_train_with_their_own_file_of_the_same_names(files, tmp_path):
    first = own(files, tmp_path, name="first")
    other = tmp_path / "other"
    other.mkdir()
    text = Path(files["decoupled.py"]).read_text()
    (other / "decoupled.py").write_text(text.replace(").sum(1)", ").sum(1) * 2"))
    second = own({**files, "decoupled.py": str(other / "decoupled.py")}, tmp_path, name="second")
    losses = [
        open_tensors(next((train(c) / "records/scalars/cl").iterdir()))["batch.loss_of.hinge"] for c in (first, second)
    ]
    assert losses[1][0] == pytest.approx(2 * losses[0][0])


def test_a_file_edited_between_loading_and_training_is_refused(files, tmp_path):
    config = own(files, tmp_path)
    Path(files["decoupled.py"]).write_text(Path(files["decoupled.py"]).read_text() + "# edited\n")
    with pytest.raises(UserError, match="load the config again"):
        train(config)


def test_a_files_hash_that_does_not_fit_is_refused(files, tmp_path):
    with pytest.raises(UserError, match="restore the files"):
        from_tables(tables(code={"files": [files["blobs.py"]], "sha256": ["0" * 64]}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        ("import coupled\ncoupled.register_objective('dcl')(lambda s, l, t: s)", "dcl"),
        ("raise ValueError('first\\nsecond')", "ValueError: first"),
        ("import sys\nsys.exit(0)", "SystemExit"),
    ],
)
def test_a_file_that_fails_is_one_line(text, message, tmp_path):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        from_tables(tables(code={"files": [str(tmp_path / "bad.py")]}))
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        from_tables(tables(code={"files": [str(tmp_path / "absent.py")]}))


def test_files_are_looked_for_beside_the_config(files, tmp_path, monkeypatch):
    (tmp_path / "own.toml").write_text('[code]\nfiles = ["decoupled.py"]\n[arms.cl]\nobjective = "hinge"\n')
    monkeypatch.chdir("/")
    assert len(coupled.load(tmp_path / "own.toml").code.sha256) == 1


def test_a_run_of_an_own_objective_on_shipped_data_is_read_without_the_code(files, tmp_path):
    arms = {"cl": {"objective": "dcl"}, "hinge": {"objective": "hinge"}}
    given = tables(code={"files": [files["decoupled.py"]]}, paths={"runs": str(tmp_path)}, arms=arms)
    path = train(from_tables(given))
    execute([])
    assert (analysis.open_run(path).curve("weight_gap", arm="hinge").values[1:] > 0).all()
    assert export(path, "hinge").is_file()


@pytest.mark.parametrize("body", ["1 / 0", "sigma", "sigma.detach().sum(1)", "None", "sigma.nothing"])
def test_an_objective_that_fails_is_one_line_and_leaves_no_directory(body, tmp_path):
    text = (
        f"import coupled\n@coupled.register_objective('own')\ndef own(sigma, labels, temperature):\n    return {body}\n"
    )
    (tmp_path / "own.py").write_text(text)
    given = tables(
        code={"files": [str(tmp_path / "own.py")]},
        paths={"runs": str(tmp_path / "runs")},
        arms={"cl": {"objective": "own"}},
    )
    with pytest.raises(UserError, match="objective own") as raised:
        train(from_tables(given))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "runs").exists()


def test_an_objective_of_the_wrong_shape_is_one_line(tmp_path):
    @coupled.register_objective("square")
    def square(sigma, labels, temperature):
        return sigma

    config = from_tables(tables(paths={"runs": str(tmp_path)}, arms={"cl": {"objective": "square"}}))
    with pytest.raises(UserError, match="square"):
        train(config)
    assert torch.is_grad_enabled()
