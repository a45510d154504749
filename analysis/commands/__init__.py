"""The commands of `coupled-analyze`, one file each: `add` says what it takes, `run` does it, returns the exit code."""

from collections.abc import Sequence
from typing import Final

from coupled.terminal.entry import Parser, program_parser

COMMANDS: Final = {
    "curves": "CKA, RSA, weight gap and losses over steps: table, figure, CSV",
    "bounds": "bounds on loss gap, drift and alignment beside what was measured: table, figure, CSV",
    "divergence": "distance, angle and excess of weights, growth exponents, by layer: table, figure, CSV",
    "response": "what comes out over what was put in: nudges, losses, placebos, kicks; path bounds: table, figure, CSV",
    "alignment": "CKA, RSA and weight gap of kept checkpoints on train and test: table, figures, CSV",
    "losses": "losses, gaps and bounds of kept checkpoints on train and test: table, figures, CSV",
    "geometry": "CDNV, collapse, simplex ETF, effective rank on train and test: table, figure, CSV",
    "probe": "accuracy of centres, linear probes and kNN at any number of labels: table, figure, CSV",
    "accuracy": "is more alignment better? Accuracy beside alignment at kept checkpoints: table, figure, CSV",
    "picture": "pictures of h or z by UMAP or PCA, an arm a row, a step a column: figure, CSV",
    "claims": "the papers' claims over sweeps, each with a verdict: table, CSV",
    "report": "one self-contained HTML page of everything, beside the CSVs and figures",
    "export": "curves, divergence and bounds as parquet files",
    "watch": "a run's curves on a local page, drawn again while it grows",
    "import": "make a run directory of checkpoints that the papers' code wrote",
}

# These say themselves what --output is: of a report a page too, of an import the run that is made.
_OWN_OUTPUT: Final = (f"{__name__}.report", f"{__name__}.import_")


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code. Raises UserError and StoreError."""
    options = parser().parse_args(arguments)
    if options.run.__module__ in _OWN_OUTPUT:
        return options.run(options)
    # Loaded here: --help is quick.
    from analysis.output.files import results_in

    given = [*getattr(options, "runs", ()), *getattr(options, "sweeps", ()), getattr(options, "across", None)]
    with results_in(getattr(options, "output", None), [path for path in given if path is not None]):
        return options.run(options)


def parser() -> Parser:
    """The parser of all commands."""
    about = "Turn the records and kept checkpoints of runs into results."
    return program_parser("coupled-analyze", about, __name__, COMMANDS)
