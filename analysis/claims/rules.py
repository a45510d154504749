"""The claims and the rules that decide them: `rules.toml`, which was written before any run was made.

It is read strictly. A mistake in it is ours and no user's, so it is a ValueError.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib.resources import files
from typing import Any, Final, get_args

from analysis.aggregation.summary import QUANTITIES
from analysis.claims.roles import CL, ROLES
from analysis.claims.verdicts import SIDES, Side

FILE: Final = "rules.toml"
COUNT: Final = 13
FROM_STEP: Final = 100  # before, running statistics of batch-norm lag behind the weights
MOVED: Final = 0.3  # of ‖w_0‖: a run that has moved less says nothing about training

KINDS: Final = (
    "level",
    "difference",
    "trend",
    "change",
    "exponential",
    "other seed",
    "gap bound",
    "drift bound",
    "few-shot bound",
)
AXES: Final = ("", "labelling", "classes", "temperature", "batch_size", "imbalance")
STATES: Final = ("least", "mean", "last")
# Measured on whole samples at kept checkpoints (`analysis.claims.evaluated`); the others are recorded by the run.
EVALUATED: Final = ("probe_accuracy", "nscl_loss_share", "within_class_collapse", "simplex_deviation", "few_shot_error")
MATCHES: Final = ("step", "samples", "rate", "motion")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One rule: a row of the table. `kind` says how effects by seed are made (`effects.MAKERS`).

    measure: a quantity of a run's summary, or one of `EVALUATED`. arms: roles (`roles.ROLES`), the first beside the
    second, if there is one. axis: what varies within the sweep that is needed; where: the values of other axes, or
    lists, of which the first value counts that a sweep has. match: what trends compare runs at. state: which of the
    recorded steps from 100 on, at equal steps. against: what a level is compared with. raw: the slope itself, of log
    measure over log(C − 1), in place of the change over the whole range of the axis.
    """

    id: str
    words: str
    kind: str
    side: Side = "above"
    margin: float = 0.02
    measure: str = "cka"
    arms: tuple[str, ...] = ("nscl",)
    axis: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)
    match: str = "step"
    state: str = "mean"
    against: float = 0.0
    window: str = ""
    raw: bool = False

    def __post_init__(self) -> None:
        for name, allowed in _ALLOWED.items():
            _check(getattr(self, name) in allowed, f"row {self.id}: {name} = {getattr(self, name)!r}")
        unknown = [role for role in self.arms if role not in (CL, *ROLES)]
        _check(not unknown and len(self.arms) in (1, 2), f"row {self.id}: arms = {self.arms}")
        _check(self.margin > 0, f"row {self.id}: margin = {self.margin}")
        _check((self.axis != "") == (self.kind == "trend") or self.kind in _ANY_AXIS, f"row {self.id}: axis")

    @property
    def number(self) -> int:
        """That of its claim."""
        form = re.fullmatch(r"(\d+)([a-z]\d?)?", self.id)
        _check(form is not None, f"row {self.id}: ids are such as 5, 5a and 5a2")
        assert form is not None
        return int(form[1])


_ANY_AXIS: Final = ("gap bound", "drift bound", "few-shot bound")
_ALLOWED: Final[dict[str, tuple[str, ...]]] = {
    "kind": KINDS, "side": SIDES, "axis": AXES, "match": MATCHES, "state": STATES,
    "measure": (*QUANTITIES, *EVALUATED, "drift"), "window": ("", "early", "late"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a paper says, where it says so, and the rows that decide it."""

    number: int
    title: str
    statement: str
    source: str
    rows: tuple[Row, ...]


@cache
def rules() -> tuple[Claim, ...]:
    """All claims, in their order."""
    return parse(files("analysis.claims").joinpath(FILE).read_text(encoding="utf-8"))


def parse(text: str) -> tuple[Claim, ...]:
    """The claims of a rules file. ValueError for what it may not say."""
    tables = tomllib.loads(text)
    _check(list(tables) == ["claim"], f"tables {list(tables)}")
    claims = tuple(_claim(table) for table in tables["claim"])
    _check([claim.number for claim in claims] == list(range(1, COUNT + 1)), "claims are numbered in order")
    ids = [row.id for claim in claims for row in claim.rows]
    _check(len(set(ids)) == len(ids), "every row has an id of its own")
    return claims


def _claim(table: Mapping[str, Any]) -> Claim:
    rows = tuple(_row(row) for row in table.get("row", ()))
    claim = _built(Claim, {**{key: value for key, value in table.items() if key != "row"}, "rows": rows})
    _check(bool(rows), f"claim {claim.number} has no rows")
    for row in rows:
        _check(row.number == claim.number, f"row {row.id} of claim {claim.number}")
    return claim


def _row(table: Mapping[str, Any]) -> Row:
    return _built(Row, {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})


def _built(cls: type, values: Mapping[str, Any]) -> Any:
    by_name = {each.name: each for each in fields(cls)}
    for name, value in values.items():
        _check(name in by_name, f"{cls.__name__.lower()}: unknown key {name}")
        kind = by_name[name].type
        allowed = _TYPES.get(str(getattr(kind, "__name__", kind)), object)
        _check(isinstance(value, allowed) and (allowed is bool or type(value) is not bool), f"{name} = {value!r}")
    missing = [
        name
        for name, each in by_name.items()
        if name not in values and each.default is MISSING and each.default_factory is MISSING
    ]
    _check(not missing, f"{cls.__name__.lower()} {dict(values)!r}: lacks {missing}")
    return cls(**values)


_TYPES: Final[dict[str, Any]] = {"str": str, "float": (int, float), "int": int, "bool": bool, "tuple": tuple}


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{FILE}: {what}")


assert set(get_args(Side)) == set(SIDES)
