"""The CSV files and figures beside a report: what the other commands write, from the curves gathered for the page."""

from collections.abc import Callable
from typing import Final

from analysis.bounds import figure as bounds_figure
from analysis.bounds import table as bounds_table
from analysis.curves import figure as curves_figure
from analysis.curves import table as curves_table
from analysis.divergence import figure as divergence_figure
from analysis.divergence import table as divergence_table
from analysis.report.gather import Gathered


def write_results(section: str, gathered: Gathered) -> None:
    """Writes what the command of a section writes for the run; nothing where nothing was gathered."""
    _WRITERS[section](gathered)


def _write_curves(gathered: Gathered) -> None:
    curves_table.write(gathered.run, gathered.curves)
    curves_figure.save(gathered.run, gathered.curves)


def _write_divergence(gathered: Gathered) -> None:
    if gathered.divergence:
        divergence_table.write(gathered.run, gathered.divergence, gathered.growth)
        divergence_figure.save(gathered.run, gathered.divergence, gathered.growth)


def _write_bounds(gathered: Gathered) -> None:
    if gathered.bounds:
        bounds_table.write(gathered.run, gathered.bounds)
        bounds_figure.save(gathered.run, gathered.bounds)


_WRITERS: Final[dict[str, Callable[[Gathered], None]]] = {
    "curves": _write_curves,
    "divergence": _write_divergence,
    "bounds": _write_bounds,
}
