"""What pages show as printed is what is printed: a plan word for word, the rest but for its numbers and names."""

import re
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import page_calls
import page_commands
import page_place
import pytest
from matplotlib.figure import Figure
from page_checks import BLOCKS, commands_of, none_of
from spoilt import config_of, flip, shard, tensors

from analysis.cli import main as analyse
from coupled.cli import main as run
from coupled.driver.train import train
from coupled.terminal.entry import EXIT_CODES

PLAN = re.compile(r"(?!proven|damaged)[a-z][a-z ]{14} \S")
FORMULAS = "docs/theory.md"
# How many other text blocks: drawings, formulas, files, what others print, what a run says that stops.
NOT_OURS = {
    "CONTRIBUTING.md": 1,
    "README.md": 1,
    "docs/data.md": 1,
    "docs/faq.md": 2,
    "docs/folders.md": 4,
    "docs/objectives.md": 1,
    "docs/own_code.md": 1,
    "docs/recovery.md": 1,
    "runs/README.md": 1,
}
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    **{name: {"kind": name} for name in ("nudged", "twin")},
}
SEEN = {
    "data": {"labelling": "shape"},
    "record": {"pixels": {"every": 2}, "layers": {"every": 1}},
    "panel": {"surrogate_size": 64},
    "train": {"steps": 20},
}
NAMES = sorted({*ARMS, "scl", "ce", "ulp", "independent", "other", "other-inputs"}, key=len, reverse=True)


def shape(line):
    """A line without what differs between runs: numbers, digests, paths of runs, names of arms and tensors, rules of
    tables.
    """
    line = re.sub(r"(?:\S*/)?(?:runs/\w+|RUN|tiny|quickstart)(?=[/ :;)]|$)", "RUN", line)
    line = re.sub(r"\b(?:(?:weights|buffers)\.)?(?:encoder|projector|head)\.[\w.]+", "TENSOR", line)
    line = re.sub(r"(?<=\.)(shape\*colour|shape)(?!\S)", "LABELS", line)
    line = re.sub(r"(?<=records/)(scalars|panel)", "STREAM", line)
    line = re.sub(r"[│┃| ()]+", " ", line).strip()
    line = re.sub(r"\b(?=[a-f]*\d)[0-9a-f]{4,64}\b…?|[−-]?\d[\d.,]*(?:e[+-]\d+)?|(?<= )–(?= |$)|\binf\b", "#", line)
    line = re.sub(rf"(?<![\w.-])(?:{'|'.join(NAMES)})(?![\w.-])", "ARM", line)
    line = re.sub(r"(?<!\S)(ARM|#)(?:,? \1)+", r"\1", re.sub(r"# [kMG]?B\b", "# bytes", line))
    return re.sub(r"(power law|exponential|undecided)$|, most TENSOR|(?<=# checkpoint)s", "", line)


def printed(program, *words):
    """What a command prints, in lines as long as they may get."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(out):
        patch.setenv("COLUMNS", "1000")
        patch.setattr(Figure, "savefig", page_place.not_painted)
        program([str(word) for word in words])
    return out.getvalue()


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The shapes of what commands print of tiny runs, one of them spoilt, and of a sweep that ships."""
    folder = tmp_path_factory.mktemp("shown")
    tiny = train(config_of(folder, arms=ARMS, **SEEN))
    other = train(config_of(folder, name="other", arms={"cl": ARMS["cl"], "other": {"kind": "other-inputs"}}))
    two = [{"cl": ARMS["cl"], "nscl": ARMS["nscl"] | {"temperature": value}} for value in (0.5, 0.4)]
    pair = [train(config_of(folder, name=f"pair{n}", arms=arms, **SEEN)) for n, arms in enumerate(two)]
    texts = [printed(run, "verify", each, "--replay", "2") for each in (tiny, other)] + [printed(run, "diff", *pair)]
    texts += [printed(analyse, command, tiny) for command in ("curves", "bounds", "divergence")]
    texts.append(printed(run, "sweep", "sweeps/papers/seeds", "--dry-run"))
    damaged = tiny / shard(tiny, "panel", "cl", 3)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    tensors(tiny, "scalars", "shared", 3, chain=(0, flip))
    tensors(tiny, "scalars", "twin", 3, **{"state.distance": (1, 0.5)})
    texts.append(printed(run, "verify", tiny))
    return {shape(line) for text in texts for line in text.splitlines()}


def shown(page):
    """(where, lines) of every text that a page shows: blocks of text, and what follows the commands of a block."""
    for block in BLOCKS[page]:
        lines = block.text.splitlines()
        if page_commands.is_commands(block):
            last = max(each.line for each in page_commands.commands(block)) - block.line + 1
            while lines[last - 1].endswith("\\"):
                last += 1
            lines = lines[last:] if not block.language else []
        elif block.language not in ("", "text") or block.reason:
            continue
        if any(lines):
            yield block, [line for line in lines if line.strip()]


def is_plan(lines):
    return bool(PLAN.match(lines[0]))


def joined(lines):
    """Lines of 80 columns as the one line of a file: an item goes on where no new one begins."""
    if not lines[0].endswith("over arms):"):
        return lines
    return re.sub(r"\n(?!- )", " ", "\n".join(lines)).splitlines()


@pytest.mark.parametrize("page", [page for page in BLOCKS if any(is_plan(lines) for _, lines in shown(page))])
def test_a_plan_on_a_page_is_what_plan_prints(page, place, monkeypatch):
    place(page)
    monkeypatch.setattr("coupled.commands.plan.look", lambda name, root: name != "shapes")
    faults = []
    for block, lines in shown(page):
        if is_plan(lines):
            asked = [each for each in commands_of(page) if each.words[1:2] == ("plan",)]
            before = [each for each in asked if each.line < block.line]
            command = before[-1] if before else asked[0]
            plan = printed(run, *page_calls.planned(command)).splitlines()
            faults += [f"{block.where}: {command.words} does not print {line}" for line in lines if line not in plan]
    none_of(faults)


def test_what_a_page_shows_is_printed(output):
    faults, others = [], {}
    for page in BLOCKS.keys() - {FORMULAS}:
        for block, lines in shown(page):
            if is_plan(lines) or "\n".join(lines) == EXIT_CODES.strip():
                continue
            words = [line for line in joined(lines) if re.search("[a-z]{2}", line) and line.strip()[0] != "…"]
            wrong = [line for line in words if not is_printed(line, output)]
            if len(wrong) == len(words):
                others[page] = others.get(page, 0) + 1
            else:
                faults += [f"{block.where}: nothing prints {line}\n  {shape(line)}" for line in wrong]
    none_of(faults)
    assert others == NOT_OURS


def is_printed(line, output):
    """`…` at the end of a line: it is shortened."""
    if line.endswith("…"):
        return any(each.startswith(shape(line[:-1])) for each in output)
    return shape(line) in output
