"""The part of a sweep that a row looks at: found by what varies in it and which arms it has, whatever it is called."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from analysis.aggregation.gap import Gap
from analysis.claims.evaluated import looked_at
from analysis.claims.roles import having, partner
from analysis.claims.rules import EVALUATED, Row
from analysis.claims.sweeps import SEED, Sweep, SweepRun

Effects = dict[int, float | Gap]

# These follow from others, or are found by the arms themselves, however a sweep's file brought them about.
_OF_ARMS: Final = {"data.labelling": "labelling", "train.temperature": "temperature"}
_LENGTH: Final = ("train.steps", "optimiser.warmup", "optimiser.horizon")


@dataclass(frozen=True, eq=False)
class Part:
    """The runs of a sweep that a row looks at. Their seeds are known."""

    sweep: str
    runs: tuple[SweepRun, ...]

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs if run.seed is not None})

    def of_seed(self, seed: int) -> list[SweepRun]:
        return [run for run in self.runs if run.seed == seed]


def select(row: Row, sweep: Sweep) -> Part | Gap:
    """The runs where the row's other axes have the values that it names, if they then vary in its axis alone."""
    where = {axis: _first(sweep, axis, value) for axis, value in row.where.items()}
    runs = tuple(run for run in sweep.runs if all(run.has(axis, value) for axis, value in where.items()))
    if not runs:
        return Gap(f"{sweep.name} has no run under {', '.join(f'{axis} = {each}' for axis, each in where.items())}")
    axes = varied(runs, row.where)
    wanted = {row.axis} if row.axis else set()
    if axes != wanted:
        return Gap(f"{sweep.name} varies {', '.join(sorted(axes)) or 'the seed alone'}")
    begun = [run for run in runs if run.summary is not None]
    for role in row.arms if begun else ():
        if not any(having(run.arms, role) for run in begun):
            return Gap(f"{sweep.name} has no arm {role}")
    if any(run.seed is None for run in runs):
        return Gap(f"{sweep.name} has not begun")
    if row.measure in EVALUATED:
        for run in begun:
            if isinstance(steps := looked_at(row.measure, run.keeps(), run.setting("train.steps")), Gap):
                return Gap(f"{sweep.name} {steps.reason}")
    return Part(sweep.name, runs)


def _first(sweep: Sweep, axis: str, value: Any) -> Any:
    """Of several values that a row takes the first one that the sweep has."""
    values = value if isinstance(value, list) else [value]
    return next((each for each in values if any(run.has(axis, each) for run in sweep.runs)), values[-1])


def varied(runs: Iterable[SweepRun], fixed: Iterable[str] = ()) -> set[str]:
    """The axes with more than one value in these runs, without the seed and those that are fixed."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for axis, each in run.values.items():
            if axis not in (SEED, *fixed, *_LENGTH, *_OF_ARMS, *_OF_ARMS.values()):
                values.setdefault(axis, set()).update(map(repr, each))
        for name in having(run.arms, "nscl"):
            for axis in _OF_ARMS.values():
                values.setdefault(axis, set()).add(repr(run.arms[name][axis]))
    return {axis for axis, each in values.items() if len(each) > 1}


def needs(row: Row) -> str:
    """What a row needs, in words: which arms, and what varies."""
    arms = ", ".join(dict.fromkeys(("cl", *row.arms)))
    return f"a sweep that varies {_words(row)}, with the arms {arms}"


def _words(row: Row) -> str:
    where = "".join(f" under {axis} = {alternatives(value)}" for axis, value in row.where.items())
    return f"{row.axis} and the seed{where}" if row.axis else "the seed alone"


def alternatives(value: Any) -> str:
    """One value, or several, in words."""
    return " or ".join(map(str, value if isinstance(value, list) else [value]))


def by_seed(row: Row, part: Part, of: Callable[[SweepRun, str], float | Gap]) -> Effects:
    """What `of` gives for the first arm that plays the row's part in the one run of each seed."""
    effects: Effects = {}
    for seed in part.seeds:
        runs = part.of_seed(seed)
        arms = [name for run in runs for name in having(run.arms, row.arms[0])]
        if len(runs) != 1:
            effects[seed] = Gap(f"{len(runs)} runs differ in what the rule does not vary")
        elif runs[0].summary is None:
            effects[seed] = Gap(f"{runs[0].name}: {runs[0].lacks}")
        else:
            effects[seed] = of(runs[0], arms[0]) if arms else Gap(f"no arm {row.arms[0]}")
    return effects


def difference(row: Row, run: SweepRun, arm: str, of: Callable[[str], float | Gap]) -> float | Gap:
    """What `of` gives for an arm, less what it gives for the arm of the row's second role, if there is one."""
    first = of(arm)
    if len(row.arms) == 1 or isinstance(first, Gap):
        return first
    other: Any = partner(run.arms, arm, row.arms[1])
    second = Gap(f"no arm {row.arms[1]}") if other is None else of(other)
    return second if isinstance(second, Gap) else first - second
