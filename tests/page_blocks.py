"""The code blocks of the pages: where each begins, what it is, and why it is not run, where its page says so."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Why a block may not be run in a test. Its commands are checked all the same.
REASONS = (
    "needs a GPU",
    "needs a cluster",
    "needs the network",
    "needs data that is not here",
    "needs other code",
    "takes too long",
)
MARK = re.compile(r"<!-- not run in tests: (.*?) -->")
_FENCE = re.compile(r"( *)(`{3,}|~{3,})\s*(\S*)(.*)$")
_ITEM = re.compile(r"( {0,3}(?:[-*+]|\d+[.)]) +|(?:!!!|\?\?\?\+?) )\S")
_FILE = re.compile(r"# ([\w-]+\.(?:py|toml))\b")


@dataclass(frozen=True)
class Block:
    """`line`: of its first line of text, from 1. `language`: that of its fence, "" without one. `fenced`: or indented.
    `reason`: why it is not run.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str | None = None
    fenced: bool = True

    @property
    def where(self):
        return f"{self.page}:{self.line}"

    @property
    def file(self):
        """The name of the file that the block is, which its first line says in a comment; None without one."""
        named = _FILE.match(self.text)
        return named[1] if named else None


def pages():
    """Every page with blocks, as its path from the root."""
    docs = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))
    return ["README.md", "CONTRIBUTING.md", *docs, "runs/README.md"]


def blocks_of(page):
    """The blocks of a page of the repository."""
    return blocks(page, (ROOT / page).read_text(encoding="utf-8"))


def blocks(page, text):
    """The blocks of Markdown text, in order. ValueError where a mark has none of `REASONS`, or no block."""
    lines = text.splitlines()
    found, at, content, mark = [], 0, 0, None
    while at < len(lines):
        line = lines[at]
        fence, new = _FENCE.match(line), MARK.fullmatch(line.strip())
        if new:
            _check_mark(page, at, mark, new[1])
            mark, at = new[1], at + 1
        elif fence:
            end = _end_of_fence(lines, at, fence[2], page)
            text_of = "\n".join(line.removeprefix(fence[1]) for line in lines[at + 1 : end])
            found.append(Block(page, at + 2, fence[3], text_of + "\n", mark))
            mark, at = None, end + 1
        elif _indent(line) >= content + 4 and line.strip() and (at == 0 or not lines[at - 1].strip() or mark):
            end = _end_of_indented(lines, at, content + 4)
            text_of = "\n".join(line[content + 4 :] for line in lines[at:end])
            found.append(Block(page, at + 1, "", text_of.rstrip() + "\n", mark, fenced=False))
            mark, at = None, end
        else:
            if line.strip():
                _check_mark(page, at, mark, None)
                content = _content(line, content, lines[at - 1] if at else "")
            at += 1
    _check_mark(page, at - 1, mark, None)
    return found


def only_python(page):
    """The text of the one Python block of a page, for a test that looks at what comes out of it."""
    (block,) = (block for block in blocks_of(page) if block.language == "python")
    return block.text


def prose(page):
    """(line number, text) of every line of a page that is in no block."""
    lines = dict(enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), start=1))
    for block in blocks_of(page):
        for line in range(block.line, block.line + block.text.count("\n")):
            lines.pop(line, None)
    return lines.items()


def _check_mark(page, at, mark, new):
    if mark is not None:
        raise ValueError(f"{page}:{at + 1}: no block follows the mark “not run in tests: {mark}” directly")
    if new is not None and new not in REASONS:
        raise ValueError(f"{page}:{at + 1}: “not run in tests: {new}”; the reasons are {'; '.join(REASONS)}")


def _end_of_fence(lines, at, fence, page):
    for end in range(at + 1, len(lines)):
        if lines[end].strip() == fence:
            return end
    raise ValueError(f"{page}:{at + 1}: this block has no end")


def _end_of_indented(lines, at, width):
    end = at
    for place in range(at, len(lines)):
        if lines[place].strip() and _indent(lines[place]) < width:
            break
        if lines[place].strip():
            end = place + 1
    return end


def _indent(line):
    return len(line) - len(line.lstrip(" "))


def _content(line, content, before):
    """How far what belongs to a list item is indented, after this line of text; 0 outside of lists."""
    item = _ITEM.match(line)
    if item:
        return 4 if line.startswith(("!!!", "???")) else len(item[1])
    return 0 if _indent(line) == 0 and not before.strip() else content
