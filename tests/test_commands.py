"""Every command of both programs, in front of output that is gone, full, closed, or not UTF-8."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import TINY, tiny
from matplotlib.figure import Figure

from analysis.cli import main as analyse
from coupled.cli import main as run
from coupled.config.toml import to_toml
from coupled.driver.train import train
from coupled.terminal.entry import EXIT_CODES

ROOT = Path(__file__).parents[1]
ARMS = {name: TINY["arms"][name] for name in ("cl", "nscl", "nudged")}
PLANNED = "--set paths.runs=. --set name=T"

COMMANDS = {
    "plan": (run, "plan T.toml"),
    "train": (run, f"train T.toml {PLANNED} --ranks 1"),
    "resume": (run, "resume T --ranks 1"),
    "verify": (run, "verify T --sample 2"),
    "diff": (run, "diff T T"),
    "diff, different": (run, "diff T U"),
    "export": (run, "export T --arm cl"),
    "fields": (run, "fields"),
    "schema": (run, "schema"),
    "help": (run, "--help"),
    "help of train": (run, "train --help"),
    "curves": (analyse, "curves T"),
    "curves of two": (analyse, "curves T U"),
    "curves as markdown": (analyse, "curves T --markdown"),
    "bounds": (analyse, "bounds T"),
    "divergence": (analyse, "divergence T"),
    "export as parquet": (analyse, "export T --parquet"),
    "geometry": (analyse, "geometry T --samples 8 --steps 3"),
    "losses": (analyse, "losses T --samples 8 --steps 0 3"),
    "accuracy": (analyse, "accuracy T U --samples 8 --steps 3 --classifier centre"),
    "picture": (analyse, "picture T --samples 8 --steps 3 --method pca"),
    "report": (analyse, "report T"),
    "help of analyse": (analyse, "--help"),
    "help of report": (analyse, "report --help"),
    "help of import": (analyse, "import --help"),
}
FEW = ("plan", "diff, different", "curves", "fields")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the finished runs T and U of two seeds, and T's config."""
    folder = tmp_path_factory.mktemp("commands")
    for seed, name in enumerate("TU"):
        config = tiny(folder, name=name, seed=seed, arms=ARMS)
        train(config)
        (folder / f"{name}.toml").write_text(to_toml(config))
    return folder


@pytest.fixture
def place(trained, monkeypatch):
    """That folder as the working directory. Figures are not painted: it takes most of a command's time."""
    monkeypatch.chdir(trained)
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write(b"painted"))
    return trained


def called(command):
    program, words = COMMANDS[command]
    return program(words.split())


@pytest.fixture
def stdout(monkeypatch):
    """Put an open file descriptor in stdout's place; what is closed at the end."""
    opened = []

    def put(descriptor, encoding="utf-8"):
        opened.append(open(descriptor, "w", encoding=encoding))  # noqa: SIM115, PTH123 - closed below
        monkeypatch.setattr(sys, "stdout", opened[0])

    yield put
    with suppress(OSError):
        opened[0].close()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_gone_is_141_and_nothing_else(command, place, stdout, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    stdout(writer)
    assert called(command) == 141
    sys.stdout.close()  # as Python does when it ends: nothing is left to complain about
    err = capsys.readouterr().err
    assert err == "" or (command == "curves as markdown" and err.startswith("results: "))


def test_files_are_written_though_nobody_reads_what_is_said(place, stdout):
    reader, writer = os.pipe()
    os.close(reader)
    stdout(writer)
    for name in "TU":
        (place / name / "analysis" / "curves.csv").unlink(missing_ok=True)
    assert called("curves of two") == 141  # the output of the first breaks the pipe
    assert all((place / name / "analysis" / "curves.csv").is_file() for name in "TU")


@pytest.mark.parametrize("command", FEW)
def test_output_that_cannot_be_written_is_3_and_one_line(command, place, stdout, capsys):
    stdout(os.open("/dev/full", os.O_WRONLY))
    assert called(command) == 3
    sys.stdout.close()
    program = "coupled-run" if COMMANDS[command][0] is run else "coupled-analyze"
    assert capsys.readouterr().err == f"{program}: the output could not be written: No space left on device\n"


@pytest.mark.parametrize("command", FEW)
def test_closed_output_is_as_if_nobody_listened(command, place, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)
    assert called(command) == (command == "diff, different")
    monkeypatch.setattr(sys, "stderr", None)
    assert called(command) == (command == "diff, different")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("failing", ["/dev/full", "gone"])
def test_progress_and_errors_that_nobody_reads_change_no_exit_code(failing, place, monkeypatch):
    writer = os.open("/dev/full", os.O_WRONLY)
    if failing == "gone":
        os.close(writer)
        reader, writer = os.pipe()
        os.close(reader)
    with open(writer, "w", encoding="utf-8") as stderr:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", stderr)
        assert run(f"train T.toml --set paths.runs={failing.strip('/')} --ranks 1".split()) == 0
        assert run(["verify", "nowhere"]) == 2


@pytest.mark.parametrize(
    ("command", "encoding"),
    [
        *((command, "latin-1") for command in COMMANDS if command != "curves of two"),
        ("plan", "ascii"),
        ("help", "cp932"),
    ],
)
def test_every_encoding_can_show_every_command(command, encoding, place, stdout, capsys):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # more than a pipe holds would be an error, not a test that hangs
    stdout(writer, encoding)
    assert called(command) == (command == "diff, different")
    sys.stdout.close()
    with open(reader, encoding=encoding) as shown:  # noqa: PTH123
        text = shown.read()
    assert text and text.isascii()
    assert SAID.get(command, "") in text


# What would be lost if what the encoding lacks were dropped, or a question mark.
SAID = {
    "plan": "Sigma of the surrogate panel, 4 x 2 views as one batch; limit 16; delta = 0.05",
    "diff, different": "||Delta||/||w||",
    "fields": "0 <= value",
    "curves": "| nscl   | cl        |",
    "bounds": "drift of Sigma",
    "divergence": "exponent: slope of log",
    "losses": "Scope split: one Sigma of all samples",
}


def test_layout_counts_the_letters_that_are_shown(place, stdout):
    reader, writer = os.pipe()
    stdout(writer, "ascii")
    called("diff, different")
    sys.stdout.close()
    with open(reader, encoding="ascii") as shown:  # noqa: PTH123
        lines = shown.read().splitlines()
    head = next(line for line in lines if "max |Delta|" in line)
    below = lines[lines.index(head) + 1]
    assert head.index("||Delta||/||a||") > head.index("max |Delta|") + len("max |Delta|")
    assert below[: head.index("||Delta||/||a||")].endswith("  ")  # the last column begins where its head does


def test_a_pipe_of_a_shell(place):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    environment.pop("PYTHONUNBUFFERED", None)  # what is buffered is written once more as Python ends
    call = '"$PYTHON" -m coupled diff T U | true; echo ${PIPESTATUS[0]}'
    done = subprocess.run(["bash", "-c", call], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_the_exit_codes_are_documented_as_help_shows_them(capsys):
    assert run(["diff", "--help"]) == 0
    assert capsys.readouterr().out.endswith(f"{EXIT_CODES}\n")
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert "\n".join(f"    {line}" for line in EXIT_CODES.splitlines()) in page
