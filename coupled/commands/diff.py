"""`coupled-run diff`: where two runs part."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from coupled.comparison import Diff, diff
from coupled.comparison.states import LayerDifference
from coupled.store.errors import one_line
from coupled.terminal.console import Console, say
from coupled.terminal.entry import Parser

_MOST = 12  # rows of a table
_MOST_LAYERS = 5


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.add_argument("a", type=Path, metavar="A", help="run directory")
    command.add_argument("b", type=Path, metavar="B", help="another one")


def run(arguments: argparse.Namespace) -> int:
    """Prints how two runs differ."""
    difference = diff(arguments.a, arguments.b)
    show(difference, Console())
    return 0 if difference.equal else 1


def show(difference: Diff, console: Console) -> None:
    """Print the tables, and the verdict as the last line."""
    facts = [(fact.name, fact.kind, _short(fact.a), _short(fact.b)) for fact in difference.facts]
    _table(console, ("field", "kind", "A", "B"), facts, most=40)
    _lines(difference.only, most=40)
    rows = [(row.column, f"{row.stream}/{row.owner}", row.layers, row.size) for row in difference.rows]
    _table(console, (f"differs at step {difference.step}", "of", "first layer", "how much"), rows)
    fixed = [(row.column, f"{row.stream}/{row.owner}", row.size) for row in difference.fixed]
    _table(console, ("differs at no step", "of", "how much"), fixed)
    _show_states(difference, console)
    arms = list(dict.fromkeys(arm for _, arm, _ in difference.growth))
    values = {(step, arm): value for step, arm, value in difference.growth}
    steps = sorted({step for step, _ in values})
    shown = [(str(step), *(_number(values.get((step, arm))) for arm in arms)) for step in steps]
    _table(console, ("step", *(f"{arm}: max |Δz|" for arm in arms)), shown, numbers=True)
    say(difference.verdict)


def _show_states(difference: Diff, console: Console) -> None:
    if not any(state.differs for state in difference.states):
        return
    arms = list(dict.fromkeys(state.arm for state in difference.states))
    values = {(state.step, state.arm): state for state in difference.states}
    steps = sorted({state.step for state in difference.states})
    shown = [(str(step), *(_number(values[step, arm].relative) for arm in arms)) for step in steps]
    _table(console, ("checkpoint", *(f"{arm}: ‖Δ‖/‖w‖" for arm in arms)), shown, numbers=True)
    for arm in arms:
        first = next((values[step, arm] for step in steps if values[step, arm].differs), None)
        if first is None:
            continue
        largest = sorted(first.layers, key=_by_size)
        rows = [(layer.name, _number(layer.sizes.largest), _number(layer.relative)) for layer in largest]
        begin = f", first {first.layers[0].name}" if first.layers else ""
        title = f"{arm} at checkpoint {first.step}: {len(first.layers)} tensors{begin}"
        _table(console, (title, "max |Δ|", "‖Δ‖/‖a‖"), rows, most=_MOST_LAYERS, numbers=True)
        if first.unmatched:
            _lines([f"{arm}: {len(first.unmatched)} tensors not in both alike, first {first.unmatched[0]}"])


def _by_size(layer: LayerDifference) -> tuple[bool, float]:
    """Layers with nothing finite to measure come first, then the largest."""
    largest = layer.sizes.largest
    return largest == largest, -largest


def _table(
    console: Console,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    most: int = _MOST,
    *,
    numbers: bool = False,
) -> None:
    """The first rows; `numbers`: all columns but the first hold them."""
    if not rows:
        return
    table = Table(box=None, header_style="bold", padding=(0, 2))
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if numbers and place else "left")
    for row in rows[:most]:
        table.add_row(*row)
    console.print(table)
    if len(rows) > most:
        _lines([f"  … and {len(rows) - most} more"])


def _lines(lines: Sequence[str], most: int = _MOST) -> None:
    for line in lines[:most]:
        say(line)
    if len(lines) > most:
        say(f"  … and {len(lines) - most} more")


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3g}"  # NaN: nothing finite to measure


def _short(value: object) -> str:
    text = one_line("–" if value is None else str(value))
    return text if len(text) <= 32 else text[:31] + "…"
