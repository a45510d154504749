"""HTML in small pieces. Every text goes through `text`: names in a run.json are anybody's."""

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from analysis.output.styles import Style

# A number, a number with its interval, or the word for none.
_NUMBER = re.compile(r"([-–\d.,e+]+( \([-–\d.,e+ ]+\))?|undefined|)")
_INTERVAL = re.compile(r" (\([^()]* – [^()]*\))")
_DASHES = {"-": "", "--": "7 4", "-.": "8 3 2 3", ":": "2 3"}


def text(value: object) -> str:
    """Text for an element or a quoted attribute."""
    return html.escape(str(value))


def paragraph(content: str, kind: str = "") -> str:
    """A paragraph of plain text, nothing if it is empty."""
    opened = f'<p class="{kind}">' if kind else "<p>"
    return f"{opened}{text(content)}</p>" if content else ""


def items(texts: Iterable[str]) -> str:
    """A list of plain texts, nothing if there are none."""
    lines = "".join(f"<li>{text(one)}</li>" for one in texts)
    return f"<ul>{lines}</ul>" if lines else ""


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "") -> str:
    """A table that scrolls by itself where the page is narrow; columns of numbers are set to the right, and a column
    with nothing in it is left out.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    there = [i for i in range(len(columns)) if any(row[i] for row in cells)]
    kinds = {i: ' class="number"' if all(_NUMBER.fullmatch(row[i]) for row in cells) else "" for i in there}
    head = "".join(f'<th scope="col"{kinds[i]}>{text(columns[i])}</th>' for i in there)
    # On a phone a row stands as a list: each cell with the name of its column.
    labels = {i: f' data-label="{text(columns[i])}"' for i in there}
    rows_html = ("".join(f"<td{kinds[i]}{labels[i]}>{_cell(row[i])}</td>" for i in there) for row in cells)
    body = "".join(f"<tr>{row}</tr>" for row in rows_html)
    return scrolling(
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", caption or ", ".join(columns), caption
    )


def _cell(content: str) -> str:
    """Text of a cell, which is broken before an interval in brackets and not inside."""
    return _INTERVAL.sub(r' <span class="whole">\1</span>', text(content))


def scrolling(table_html: str, label: str, caption: str = "") -> str:
    """A table in a box that scrolls; its caption stands outside, where it stays."""
    # Reachable by keyboard, as what scrolls must be.
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">{table_html}</div>'
    return paragraph(caption, "caption") + box


def matched(element: str, match: str, html_text: str) -> str:
    """HTML that page.js shows while this match is chosen; without scripts all are shown."""
    return f'<{element} data-of-match="{text(match)}">{html_text}</{element}>'


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values, in two columns."""
    lines = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{lines}</dl>'


def swatch(style: Style) -> str:
    """A sample of an arm's line."""
    dash = f' stroke-dasharray="{_DASHES[style.line]}"' if _DASHES[style.line] else ""
    return (
        '<svg class="swatch" width="28" height="10" aria-hidden="true"><line x1="1" x2="27" y1="5" y2="5" '
        f'stroke="{style.colour}" stroke-width="2.5"{dash}/></svg>'
    )


def script_json(value: Any) -> str:
    """JSON that is safe inside a script element: no "<", so no "</script>"; ASCII, so no line separators."""
    data = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
