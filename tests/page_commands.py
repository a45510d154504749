"""The commands that a page shows: which lines are commands, and whether the programs would take them."""

import io
import re
import shlex
from contextlib import redirect_stderr
from dataclasses import dataclass

from page_blocks import ROOT
from torch.distributed.run import get_args_parser

from analysis.commands import parser as analysis_parser
from coupled.commands import parser as run_parser
from coupled.errors import UserError

PARSERS = {"coupled-run": run_parser, "coupled-analyze": analysis_parser}
_MODULES = {"coupled": "coupled-run", "analysis": "coupled-analyze"}
# What a shell does itself, and what only looks or makes a folder: nobody has to check it.
_SHELL = {
    *("for", "do", "done", "while", "if", "then", "else", "fi", "[", "true", "set", "exit", "wait", "sleep", "cd"),
    *("export", "echo", "mkdir", "mktemp", "rm", "find", "cat", "ls", "head", "tail", "grep", "sort"),
}
# Of these only the machine of a reader can tell what they do: a block with one of them carries a mark.
_OUTSIDE = {
    *("git", "pip", "apt-get", "source", "eval", "module", "conda", "ssh", "scp", "rsync", "apptainer", "nvidia-smi"),
    *("tensorboard", "srun", "sbatch", "salloc", "scontrol", "scancel", "squeue", "sacct", "sinfo"),
}
_PROGRAMS = {*PARSERS, *_SHELL, *_OUTSIDE, "make", "python", "torchrun"}
# Words that shown text may begin with too.
_WORDS = {
    "find",
    "do",
    "if",
    "then",
    "else",
    "[",
    "true",
    "set",
    "exit",
    "wait",
    "sleep",
    "head",
    "tail",
    "sort",
    "module",
}
# What stands for something of the reader's.
_STANDS_FOR = {**dict.fromkeys("NKBET", "2"), "STEPS": "2", "SECTION": "train", "SWEEP": "SWEEP.toml"}
_MISSING = "the following arguments are required"


@dataclass(frozen=True)
class Command:
    """A program and its words, optional parts among them, as a page has them on this line."""

    page: str
    line: int
    words: tuple[str, ...]

    @property
    def where(self):
        return f"{self.page}:{self.line}"

    @property
    def program(self):
        return self.words[0]


def is_commands(block):
    """Does a block say what to type? Else it shows text: output, a formula, files."""
    if block.language in ("bash", "sh", "shell"):
        return True
    lines = [line for line in block.text.splitlines() if line.strip() and not line.startswith("#")]
    word = lines[0].split()[0] if lines else ""
    return not block.language and (word in _PROGRAMS - _WORDS or word == "$")


def commands(block):
    """The commands of a block, loops and pipes taken apart. ValueError where a line is none that is known."""
    found, after_blank = [], False
    for line, text in _logical_lines(block):
        for words in _segments(text):
            if words[0] not in _PROGRAMS and after_blank and not block.language:
                return found  # what the commands print
            if words[0] not in _PROGRAMS:
                raise ValueError(f"{block.page}:{line}: {words[0]} is no command that tests/page_commands.py knows")
            found += [Command(block.page, line, tuple(each)) for each in _unwrapped(words)]
        after_blank = not text.strip()
    return found


def inline(page, line, text):
    """The commands between backticks in a line of prose."""
    for code in re.findall(r"`((?:coupled-run|coupled-analyze|make) [^`]+)`", text):
        for words in _segments(code):
            yield Command(page, line, tuple(words))


def of_text(block):
    """The commands that shown text ends with: “next: coupled-run resume RUN”."""
    for offset, text in enumerate(block.text.splitlines()):
        for code in re.findall(r"next: (coupled-(?:run|analyze) [^;]+)", text):
            yield Command(block.page, block.line + offset, tuple(code.split()))


def _logical_lines(block):
    """(line number, text) with continued lines joined."""
    text, first = "", None
    for offset, line in enumerate(block.text.splitlines()):
        first = block.line + offset if first is None else first
        if line.endswith("\\"):
            text += line[:-1] + " "
            continue
        yield first, text + line
        text, first = "", None


def _segments(text):
    """The words of each command of a line, without comments, assignments and what a loop adds."""
    text = re.sub(r"<(\w+)>", r"\1", text.strip().removeprefix("$ "))
    words = shlex.shlex(text, posix=True, punctuation_chars=";&|>")
    words.whitespace_split, words.commenters = True, "#"
    segment, skip = [], False
    for word in [*words, ";"]:
        if set(word) <= set(";&|"):
            segment = _own_words(segment)
            if segment:
                yield segment
            segment = []
        elif set(word) <= {">"}:
            skip = True
        elif not skip:
            segment.append(word)
        else:
            skip = False


def _own_words(words):
    while words and (words[0] in ("do", "then", "else") or re.match(r"\w+=", words[0])):
        words = words[1:] if "$(" not in words[0] else [words[0].partition("$(")[2], *words[1:]]
    return words


def _unwrapped(words):
    """A command, and the one that it starts: `srun torchrun --nnodes 2 -m coupled train CONFIG` is all three."""
    if words[0] == "srun" and "torchrun" in words:
        at = words.index("torchrun")
        return [words[:at], *_unwrapped(words[at:])]
    if "-m" in words and words[0] in ("python", "torchrun"):
        at = words.index("-m") + 2
        if words[at - 1] in _MODULES:
            return [words[:at], [_MODULES[words[at - 1]], *words[at:]]]
    return [words]


def outside(command):
    """Is it a command that nothing here can check?"""
    words = command.words
    if command.program == "python":
        return not (words[1:3] in (("-m", "coupled"), ("-m", "analysis")) or (ROOT / words[1]).exists())
    return command.program in _OUTSIDE


def filled(words, **stands_for):
    """Words with optional parts taken, and something in place of what stands for something of the reader's."""
    given = {**_STANDS_FOR, **stands_for}
    plain = (word.removeprefix("[") for word in words)
    plain = (word if "[" in word else word.removesuffix("]") for word in plain)
    plain = (word.replace("…", "").replace("$s", "0") for word in plain)
    return [given.get(word, word) for word in plain if word]


def parsed(command):
    """What the program's parser makes of a command that it takes."""
    return PARSERS[command.program]().parse_args(filled(command.words[1:]))


def mistake(command, *, whole=True):
    """Why the program would not take a command; None where it would. `whole`: its arguments are all there."""
    if command.program == "make":
        return _mistake_of_make(filled(command.words[1:]))
    if command.program == "torchrun":
        return _mistake_of_torchrun(command.words[1:])
    if command.program not in PARSERS:
        return None
    try:
        parsed(command)
    except UserError as error:
        return None if _MISSING in str(error) and not whole else str(error)
    except SystemExit:  # --help and --version
        return None
    return None


def _mistake_of_torchrun(words):
    with redirect_stderr(io.StringIO()) as said:
        try:
            get_args_parser().parse_args(words)
        except SystemExit:
            return said.getvalue().splitlines()[-1]
    return None


def _mistake_of_make(words):
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets, variables = re.findall(r"^([\w./-]+):", text, re.M), re.findall(r"^(\w+) [?:]?=", text, re.M)
    variables += re.findall(r"\$\((\w+)\)", text)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in (variables if equals else targets):
            return f"make {word}: the Makefile has no such {'variable' if equals else 'target'}"
    return None
