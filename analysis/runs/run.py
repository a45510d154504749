"""Open a finished or growing run directory and ask it for curves."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

from analysis.runs import measures, own, shown
from analysis.runs.curve import Curve, pick
from analysis.runs.dataset import dataset
from analysis.runs.numbers import number
from analysis.runs.own_measures import registered
from coupled.errors import UserError
from coupled.reading.records import Block, Records
from coupled.reading.run_json import read_run

# What `Run.curve` gives without options, of the measures that more than one analysis looks at.
HEADLINE: Final[dict[str, dict[str, str]]] = {
    "distance": {},
    "weight_gap": {},
    "cka": {"source": "panel", "feature": "h"},
}


class Run(Records):
    """A run opened for reading."""

    def curve(self, measure: str, *, arm: str, **options: Any) -> Curve:
        """One measured quantity of `arm` over the recorded steps; `analysis.runs.measures` has measures and options,
        and `analysis.register_measure` adds one.

        "cka" and "rsa" take `source` ("panel", "batch", "surrogate"), `feature` ("h", "z") and `reference`; without
        them it is the headline: panel, h, against the arm's own reference. "own.<name>" is a stream of numbers of one's
        own (docs/own_code.md). Raises UserError for what the run does not have.
        """
        # A user's measure that was registered again is another one, of the same name.
        key = ("curve", measure, registered.get(measure), arm, *sorted(options.items()))
        return self.remembered(key, lambda: measures.curve(self, measure, arm, **options))

    def to_xarray(self, *streams: str) -> Any:
        """The recorded numbers as an xarray Dataset over (step, arm) and, by layer, (step, arm, layer), float64.

        streams: of "scalars" ("loss", "weight_gap" …), "layers" ("layer_distance" …), "motion" ("moved" …), "ledger"
        ("ledger_instability" …) and "own.<name>", whose rows are numbers or one by layer (int64 is exact up to 2^53);
        by default all that are recorded, each once. Steps are those of any of them. A variable has
        `long_name`, `units` and, as `column`, its place in the records. What is not recorded is NaN, as what is
        undefined; `recorded` (variable, step, arm) tells the two apart. Raises UserError where xarray is not
        installed, for what is not recorded, and for more than 2 GiB.
        """
        return dataset(self, streams)

    def own(self, name: str, *, arm: str) -> Block:
        """The steps, int64 (T,), at which a stream of one's own is recorded of `arm`, and its values (T, *shape).

        The code that made it is not needed. Raises UserError for what the run does not have.
        """
        return own.values(self, name, arm)

    def _words(self) -> str:
        state = "finished" if self.finished else f"unfinished, {self.steps or 0} of {self.planned_steps} steps"
        config = self.config
        of = f"{config.data.name}, B = {config.batches.size}, {config.train.precision}, seed {config.seed}"
        return f"run {self.name}: {state}; {of}; arms {' '.join(self.arms)}"

    def __repr__(self) -> str:
        return f"<{self._words()}>"

    def _repr_html_(self) -> str:
        heads = ("arm", "kind", "objective", "labels", "reference", "last weight gap")
        arms = [
            (name, arm.kind, arm.objective or "", arm.labelling or "", arm.reference or "", self._last_gap(name))
            for name, arm in self.arms.items()
        ]
        return shown.block(self._words(), shown.table(arms, heads))

    def _last_gap(self, arm: str) -> str:
        """As it was recorded; "" where it was not."""
        try:
            values = self.curve("weight_gap", arm=arm).values
        except UserError:
            return ""
        return number(values[-1]) if len(values) else ""

    def take(self, curves: Iterable[Curve]) -> None:
        """Curves of this run that another process computed: `curve` then gives them where no option is asked for."""
        curves = list(curves)
        for arm in self.arms:
            for measure, where in HEADLINE.items():
                known = pick(curves, measure, arm, **where)
                if known is not None:
                    self.remembered(("curve", measure, None, arm), partial(_same, known))


def _same(curve: Curve) -> Curve:
    return curve


def open_run(path: str | Path) -> Run:
    """Opens a run directory, finished or not; shards are verified when they are first read. Of a run that was asked to
    stop between two checkpoints the rows in preempt/ count too: every step that it made is there.

    Raises UserError if there is no run or its schema or config is not ours, StoreError (exit code 3) if it is damaged.
    """
    path = Path(path)
    facts, config, manifest = read_run(path)
    run = Run(path, config, facts, manifest)
    run.take_open_rows()
    return run
