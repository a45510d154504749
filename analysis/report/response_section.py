"""The section of a response: what each control of the run answers, points, charts, and what else there is to say."""

import math
from collections.abc import Sequence
from typing import Final

from analysis.report import figures, wording
from analysis.report.charts import Chart
from analysis.report.content import Content
from analysis.report.markup import items, paragraph
from analysis.report.markup import table as html_table
from analysis.report.response_charts import at_step, by_arm, spread
from analysis.response.points import Point
from analysis.response.ranks import joint_ranks
from analysis.response.seeds_table import rank_lines
from analysis.response.table import BOUND_COLUMNS, CAPTION, COLUMNS, VACUOUS_WORDS, bound_rows, lines
from analysis.runs.controls import answers
from analysis.runs.numbers import ABSENT, number

_SHOWN: Final = COLUMNS[:-1]
_MOST_NAMES: Final = 6


def section(content: Content, drawn: Sequence[Chart | None]) -> str:
    """The response of runs with nudges, placebos or the like, or a ledger; "" for others."""
    reasons = "".join(paragraph(reason, "absent") for reason in content.missing.get("response", []))
    if not content.responses:
        return reasons
    lead = (
        "Two copies of one network can part under whatever makes them differ, be it a rounding error. Here is what "
        "was put in to make each arm differ from its reference, and how far apart their weights came."
    )
    told = [f"{_listed(arms)}: {sentence}" for sentence, arms in answers(content.run).items()]
    charts = f'<div class="grid">{figures.figures(content, drawn, ("response", "paths"))}</div>'
    return (
        paragraph(lead, "lead")
        + items(told)
        + charts
        + html_table(_SHOWN, _rows(content), caption=_caption(content))
        + paragraph(wording.capital(CAPTION.strip()), "small")
        + _bounds(content)
        + items(_sentences(content))
        + reasons
    )


def _listed(arms: Sequence[str]) -> str:
    """The names of arms, of many only the first and the last."""
    return ", ".join(arms) if len(arms) <= _MOST_NAMES else f"{arms[0]} … {arms[-1]} ({len(arms)} arms)"


def _caption(content: Content) -> str:
    several = len(content.responses)
    return f"At {at_step(content)}" + (f"; means over {several} seeds, in brackets their range" if several > 1 else "")


def _rows(content: Content) -> list[list[str]]:
    """A row for every arm, as in response.csv; over seeds the mean and the range of each number."""
    return [
        [arm, *(_number([getattr(point, name) for point in of_arm]) for name in _NUMBERS), _flip(of_arm)]
        for arm, of_arm in by_arm(content).items()
    ]


_NUMBERS: Final = ("put_in", "distance", "amplification", "weight_gap", "cka")


def _number(values: Sequence[float]) -> str:
    """The mean, and the range of several; a dash where it cannot be told."""
    over = spread(values)
    if math.isnan(over.mean):
        return ABSENT
    low, high, mean = map(number, (over.low, over.high, over.mean))
    return mean if len(values) == 1 else f"{mean} ({low} – {high})"


def _flip(points: Sequence[Point]) -> str:
    """The first step at which a unit was seen to flip, of all seeds; a dash where one has seen none."""
    steps = [point.first_flip for point in points if point.first_flip is not None]
    if len(steps) < len(points):
        return ABSENT
    return f"{steps[0]:,}" if len(steps) == 1 else _number(steps)


def _bounds(content: Content) -> str:
    rows = bound_rows(content.response_curves)
    if not rows:
        return ""
    table = html_table(BOUND_COLUMNS, rows, caption="Path bounds at the last step")
    return table + paragraph(f"{wording.capital(VACUOUS_WORDS)}.", "small")


def _sentences(content: Content) -> list[str]:
    """What the terminal says of each run beneath its table, and of their ranks together; what all say is said once."""
    of_run = {run.name: lines(run, found) for run, found in content.responses}
    every = [line for said in of_run.values() for line in said]
    common = [line for line in dict.fromkeys(every) if all(line in said for said in of_run.values())]
    own = [f"{name}: {line}" for name, said in of_run.items() for line in said if line not in common]
    several = len(content.responses) > 1
    joint = rank_lines(joint_ranks([found.ranks for _, found in content.responses])) if several else []
    return [f"{line}." for line in [*own, *joint, *common]]
