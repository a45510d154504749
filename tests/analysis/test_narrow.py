"""What every command prints on a terminal of 80 columns: no line too long, no name and no header broken inside."""

import re

import pytest
from helpers import tiny
from matplotlib.figure import Figure

from analysis.cli import main as analyse
from coupled.cli import main as run
from coupled.driver.train import train

LONG = "nudged-by-a-very-little"
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "twin": {"kind": "twin"},
    "placebo-of-nscl": {"kind": "placebo", "of": "nscl"},
    LONG: {"kind": "nudged"},
}
STREAMS = {name: {"every": 1} for name in ("ledger", "flips", "similarity")}
AT = "--samples 16 --steps 0 3"
# A command, and what has to stand whole in its output: names of arms, headers of one word.
COMMANDS = {
    "curves T": (*ARMS, "reference", "CKA"),
    "bounds T": ("cl", "nscl", "measured"),
    "bounds T --verbose": ("measured", LONG),
    "divergence T": (*(arm for arm in ARMS if arm != "cl"), "doubling"),
    "response T": ("nscl", "placebo-of-nscl", LONG, "CKA", "bound"),
    "response T U": ("nscl", "placebo-of-nscl", LONG, "CKA"),
    f"losses T {AT}": (*ARMS, "tighter", "anchor", "share"),
    f"alignment T {AT}": (*ARMS, "weight", "step"),
    f"geometry T {AT}": (*ARMS, "directional", "cosines", "largest"),
    f"probe T {AT} --shots 1 all --draws 2": (*ARMS, "centre", "linear", "Cantelli"),
    f"accuracy T U {AT} --classifier centre": (*ARMS, "reference", "accuracy"),
    "picture T --samples 8 --steps 3 --method pca": (*ARMS, "step"),
    "plan fashion_mnist": ("arms", "ranks", "independent"),
    "list .": ("T", "steps", "written"),
    "diff T U": ("field", "kind", "certificate.initial_weights"),
    "verify T --sample 2": ("proven",),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the runs T and U of two seeds, with all that commands look at."""
    folder = tmp_path_factory.mktemp("narrow")
    for seed, name in enumerate("TU"):
        record = {"panel": {"log": 2, "last": True}, **STREAMS}
        train(tiny(folder, name=name, seed=seed, arms=ARMS, record=record))
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_is_too_long_and_no_word_broken_at_80_columns(command, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write(b"painted"))
    monkeypatch.setenv("COLUMNS", "80")
    words = command.split()
    assert (run if words[0] in ("plan", "list", "diff", "verify") else analyse)(words) == (words[0] == "diff")
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines() if not line.startswith("next: ")) <= 80
    printed = set(re.split(r"[\s│┃]+", text))
    assert not [word for word in COMMANDS[command] if word not in printed]
    assert "…" not in re.sub(r"[0-9a-f]{31}…|… and", "", text)
