"""What the papers claim, as far as a sweep decides it: the section of its page."""

from collections.abc import Mapping, Sequence

from analysis.claims.sweeps import is_named
from analysis.claims.table import CSV_NAME, read_back
from analysis.report.markup import paragraph, table, text
from analysis.sweeps import wording
from analysis.sweeps.reading import Swept
from coupled.terminal.shell import shell

_COLUMNS = ("row", "claim", "what", "verdict", "effect", "smallest effect found", "seeds", "why undecided")


def claims(swept: Swept) -> str:
    """The rows of SWEEP/analysis/claims.csv that this sweep decides, or the command that makes the file."""
    rows = [row for row in read_back(swept.path) if _decides(swept, row)]
    command = f"coupled-analyze claims {shell(swept.path, 'utf-8')}"
    if not rows:
        return f"<p><code>{text(command)}</code> decides what the papers claim, as far as this sweep can.</p>"
    lead = (
        f"As the last coupled-analyze claims found them ({CSV_NAME}). A verdict is of the rule in docs/claims.md, "
        "which was written before the runs: the 95 % interval of the mean over seeds lies beyond the margin as claimed "
        "(supported), beyond it on the other side (contradicted), or between both (equivalent). Of bounds the effect "
        "is bound over measured."
    )
    return paragraph(lead, "lead") + table(_COLUMNS, map(_cells, rows)) + _scale(rows)


def _decides(swept: Swept, row: Mapping[str, str]) -> bool:
    return any(is_named(swept.path, name) for name in row["sweep"].split(", "))


def _cells(row: Mapping[str, str]) -> list[str]:
    effect, low, high, smallest = (float(row[name] or "nan") for name in ("effect", "low", "high", "smallest"))
    shown = wording.plain(effect) if low != low else wording.with_interval(effect, low, high)
    why = row["reason"] if row["verdict"] == "undecided" else ""
    seeds = row["seeds"] if row["seeds"] != "0" else ""
    number = wording.plain(smallest) if smallest == smallest else ""
    return [row["row"], row["title"], row["words"], row["verdict"], shown, number, seeds, why]


def _scale(rows: Sequence[Mapping[str, str]]) -> str:
    scales = dict.fromkeys(row["scale"] for row in rows if row["scale"])
    return "".join(paragraph(f"At this scale: {scale}.") for scale in scales)
