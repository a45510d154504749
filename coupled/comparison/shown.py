"""A comparison as people read it."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from coupled.comparison import Diff
from coupled.store.errors import one_line

_MOST = 12  # rows of a table


def show(found: Diff, console: Console) -> None:
    """Print the tables, and the verdict as the last line."""
    if found.facts:
        facts = [(fact.name, fact.kind, _short(fact.a), _short(fact.b)) for fact in found.facts]
        _table(console, ("field", "kind", "A", "B"), facts, most=40)
    for words in found.only:
        console.print(words, highlight=False, markup=False)
    if found.step is not None:
        rows = [(row.column, f"{row.stream}/{row.owner}", row.layer, row.size) for row in found.rows]
        _table(console, (f"differs at step {found.step}", "of", "first layer", "how much"), rows)
    _show_states(found, console)
    if found.growth:
        arms = list(dict.fromkeys(arm for _, arm, _ in found.growth))
        values = {(step, arm): value for step, arm, value in found.growth}
        steps = sorted({step for step, _, _ in found.growth})
        shown = [(str(step), *(_number(values.get((step, arm))) for arm in arms)) for step in steps]
        _table(console, ("step", *(f"{arm}: max |Δz|" for arm in arms)), shown)
    console.print(found.verdict, highlight=False, markup=False, soft_wrap=True)


def _show_states(found: Diff, console: Console) -> None:
    if not found.states:
        return
    arms = list(dict.fromkeys(state.arm for state in found.states))
    values = {(state.step, state.arm): state for state in found.states}
    steps = sorted({state.step for state in found.states})
    shown = [(str(step), *(f"{values[step, arm].relative:.3g}" for arm in arms)) for step in steps]
    _table(console, ("checkpoint", *(f"{arm}: ‖Δ‖/‖w‖" for arm in arms)), shown)
    for arm in arms:
        first = next((values[step, arm] for step in steps if values[step, arm].layers), None)
        if first is not None:
            largest = sorted(first.layers, key=lambda layer: -layer.largest)[:5]
            rows = [(layer.name, f"{layer.largest:.3g}", f"{layer.relative:.3g}") for layer in largest]
            title = f"{arm} at checkpoint {first.step}: {len(first.layers)} tensors, first {first.layers[0].name}"
            _table(console, (title, "max |Δ|", "‖Δ‖/‖a‖"), rows)


def _table(console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]], most: int = _MOST) -> None:
    table = Table(*heads, box=None, header_style="bold", padding=(0, 2))
    for row in rows[:most]:
        table.add_row(*row)
    console.print(table)
    if len(rows) > most:
        console.print(f"  … and {len(rows) - most} more")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _short(value: object) -> str:
    text = one_line("–" if value is None else str(value))
    return text if len(text) <= 32 else text[:31] + "…"
