"""The CSV files and figures beside a report: what the other commands write, from the curves gathered for the page."""

from collections.abc import Callable
from typing import Final

from analysis.bounds import figure as bounds_figure
from analysis.bounds import table as bounds_table
from analysis.curves import figure as curves_figure
from analysis.curves import table as curves_table
from analysis.divergence import figure as divergence_figure
from analysis.divergence import table as divergence_table
from analysis.output.csv import CSV_NAME
from analysis.report.content import Content
from analysis.report.gather import Gathered
from analysis.response import figure as response_figure
from analysis.response import table as response_table


def names_of(content: Content) -> dict[str, tuple[str, ...]]:
    """The files that `write_results` makes of the first run, by the section of the page that shows the same."""
    of = {
        "curves": (content.curves, (CSV_NAME, *curves_figure.NAMES)),
        "bounds": (content.bounds, (bounds_table.CSV_NAME, *bounds_figure.NAMES)),
        "divergence": (
            content.divergence,
            (divergence_table.CSV_NAME, divergence_table.GROWTH_NAME, *divergence_figure.NAMES),
        ),
        "response": (content.responses, (response_table.CSV_NAME, *response_figure.NAMES)),
    }
    return {section: names for section, (there, names) in of.items() if there}


def write_results(section: str, gathered: Gathered, all_steps: bool = False) -> None:
    """Writes what the command of a section writes for the run; nothing where nothing was gathered."""
    _WRITERS[section](gathered, all_steps)


def _write_curves(gathered: Gathered, all_steps: bool) -> None:
    if gathered.curves:
        curves_table.write(gathered.run, gathered.curves, all_steps=all_steps)
        curves_figure.save(gathered.run, gathered.curves)


def _write_divergence(gathered: Gathered, all_steps: bool) -> None:
    if gathered.divergence:
        divergence_table.write(gathered.run, gathered.divergence, gathered.growth, all_steps=all_steps)
        divergence_figure.save(gathered.run, gathered.divergence, gathered.growth)


def _write_bounds(gathered: Gathered, all_steps: bool) -> None:
    if gathered.bounds:
        bounds_table.write(gathered.run, gathered.bounds, all_steps=all_steps)
        bounds_figure.save(gathered.run, gathered.bounds)


def _write_response(gathered: Gathered, all_steps: bool) -> None:
    if gathered.response is not None:
        response_table.write(gathered.run, gathered.response, all_steps=all_steps)
        response_figure.save(gathered.run, gathered.response)


_WRITERS: Final[dict[str, Callable[[Gathered, bool], None]]] = {
    "divergence": _write_divergence,  # takes longest, so it is begun first
    "curves": _write_curves,
    "bounds": _write_bounds,
    "response": _write_response,
}

SECTIONS: Final = tuple(_WRITERS)
