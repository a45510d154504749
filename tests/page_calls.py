"""Commands of the pages, called: those that take a config as `plan`, those that look at runs on tiny ones."""

import re

import page_commands
from page_blocks import ROOT
from page_place import SEEDS, STEPS

from analysis.cli import main as analyse
from coupled.cli import main as run

_EVALUATE = {"alignment", "losses", "geometry", "probe", "picture", "accuracy"}
_ON_A_RUN = {
    "coupled-analyze": _EVALUATE | {"curves", "bounds", "divergence", "response", "report", "export"},
    "coupled-run": {"verify", "diff", "list", "fields", "schema"},
}
# Other values of options, which a tiny run has.
_SMALL = {"--batch": ["16"], "--per-class": ["4"], "--replay": ["1"]}
# There is no tiny sweep: tests/analysis/sweeps makes some.
_SWEEPS = {"sweep", *(path.stem for path in (ROOT / "configs").glob("*s/**/*.toml"))}
_said = {}  # by what was called, "" where nothing went wrong


def fault(command, words, capsys):
    """Call a program's words, once for all pages; what went wrong, for people, or None."""
    if words is None:
        return None
    called = (command.program, *words)
    if called not in _said:
        code = (run if command.program == "coupled-run" else analyse)(words)
        lines = capsys.readouterr().err.splitlines()
        fine = code == 0 or (words[0] == "diff" and code == 1)
        _said[called] = "" if fine else f"exit code {code}: {lines[-1] if lines else ''} (called as {' '.join(words)})"
    return f"{command.where}: {_said[called]}" if _said[called] else None


def of_config(command):
    """Does it take a config?"""
    return command.program == "coupled-run" and command.words[1:2] in (("train",), ("plan",), ("bench",))


def planned(command):
    """The words of the plan of its config; CONFIG is one with real images and several classes."""
    if page_commands.mistake(command):  # which another test names
        return None
    asked = page_commands.parsed(command)
    config = "cifar10_resnet50" if str(asked.config) == "CONFIG" else str(asked.config)
    ranks = ["--ranks", f"{asked.ranks}"] if command.words[1] == "plan" and asked.ranks else []
    return ["plan", config, *(word for each in asked.set for word in ("--set", each)), *ranks]


def of_sweep(command):
    """Does it take a sweep that ships?"""
    return command.program == "coupled-run" and command.words[1:2] == ("sweep",) and "SWEEP.toml" not in command.words


def on_a_tiny_run(command):
    """The words of a command that looks at runs, with tiny runs and smaller numbers; None for another command."""
    of_run = _ON_A_RUN.get(command.program, ())
    if not of_run or not of_run & {*command.words[1:2]} or page_commands.mistake(command):
        return None
    name, *words = page_commands.filled(command.words[1:])
    groups, tiny = [[]], list(SEEDS)
    for word in words:
        if word.startswith("--"):
            groups.append([word])
        elif word in ("RUN", "RUN2") or word.startswith("runs/"):
            if re.sub(r"^runs/|_?\*", "", word) in _SWEEPS or not tiny:
                return None
            groups[-1] += [f"runs/{each}" for each in (tiny if re.search(r"[*?]", word) else tiny[:1])]
            tiny = tiny[1:]
        else:
            groups[-1].append(word)
    options = {option[0]: _small(*option) for option in groups[1:]}
    if name in _EVALUATE:
        options |= {"--samples": ["96"], "--steps": ["0", f"{STEPS}"] if name != "probe" else [f"{STEPS}"]}
    if name == "probe":
        options["--draws"] = ["2"]
    if name == "picture":
        options["--method"] = ["pca"]  # umap takes long to load
    options.pop("--all", None)  # all samples
    given = ([option, *values] for option, values in options.items() if values is not None)
    return [name, *groups[0], *(word for option in given for word in option)]


def _small(option, *values):
    """Smaller values of an option; None where they stand for something of the reader's: the option is left out."""
    if any(re.fullmatch("[A-Z]{2,}", value) for value in values):
        return None
    if option == "--shots":
        return [value for value in values if value == "all" or int(value) <= 5] or ["5"]
    return _SMALL.get(option, values)
