"""What a probe of features is: classifiers, numbers of shots, draws, and the papers' own protocols."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from analysis.arrays.adam_probe import RECIPES
from coupled.errors import UserError, unknown

Protocol = Literal["default", "p1", "p2"]
PROTOCOLS: Final[tuple[Protocol, ...]] = ("default", "p1", "p2")
Group = Literal["centre", "linear", "knn"]
GROUPS: Final[tuple[Group, ...]] = ("centre", "linear", "knn")
NEIGHBOURS: Final = (5, 10, 20)
# By group, its classifiers: those of "knn" share one search.
CLASSIFIERS: Final[dict[Group, dict[str, str]]] = {
    "centre": {"centre": "nearest class centre"},
    "linear": {"linear": "linear probe"},
    "knn": {f"knn{k}": f"{k} nearest neighbours" for k in NEIGHBOURS},
}
SHOTS: Final[tuple[int | None, ...]] = (1, 5, 10, 20, 50, 100, 200, 500, None)
DRAWS: Final = 10
FEATURES: Final = ("h", "z")
MOST_DRAWS: Final = 1000
MOST_SHOTS: Final = 1 << 20


@dataclass(frozen=True)
class Settings:
    """How features are probed. shots: numbers of samples a class, ascending, None (all of them) last. draws: of shots;
    more than one pair of classes is drawn with them. protocol: "default", the ridge-penalised probe at its optimum;
    "p1" and "p2": the linear probe of the first and second paper's code, Adam for so many steps.
    """

    shots: tuple[int | None, ...] = SHOTS
    draws: int = DRAWS
    protocol: Protocol = "default"
    groups: tuple[Group, ...] = GROUPS
    features: tuple[str, ...] = FEATURES

    @property
    def few(self) -> tuple[int, ...]:
        """The numbers of shots but for "all"."""
        return tuple(m for m in self.shots if m is not None)


def settings(
    *,
    shots: Sequence[int | None] | None = None,
    draws: int | None = None,
    protocol: str = "default",
    groups: Sequence[str] = GROUPS,
    features: Sequence[str] | None = None,
) -> Settings:
    """Checked settings; what is not given is the protocol's. UserError for what cannot be."""
    of_protocol: dict[str, Settings] = {
        "default": Settings(),
        "p1": Settings(draws=5, features=(RECIPES["p1"].column,)),  # five, as its code has for each of five seeds
        "p2": Settings(shots=(None,), features=(RECIPES["p2"].column,)),
    }
    if protocol not in of_protocol:
        raise unknown("protocol", protocol, of_protocol)
    usual = of_protocol[protocol]
    for name, values, known in (("classifier", groups, GROUPS), ("feature", features or (), FEATURES)):
        for value in values:
            if value not in known:
                raise unknown(name, value, known)
    draws = usual.draws if draws is None else draws
    if not 1 <= draws <= MOST_DRAWS:
        raise UserError(f"{draws} draws", f"from 1 to {MOST_DRAWS:,}", "set --draws")
    asked = list(usual.shots if shots is None else shots)
    few = sorted({m for m in asked if m is not None})
    if not asked or (few and not 1 <= few[0] <= few[-1] <= MOST_SHOTS):
        raise UserError(f"shots {asked}", f"whole numbers from 1 to {MOST_SHOTS:,}, or all", "set --shots")
    return Settings(
        shots=(*few, *([None] if None in asked else [])),
        draws=draws,
        protocol=protocol,  # type: ignore[arg-type]
        groups=tuple(group for group in GROUPS if group in groups),
        features=tuple(feature for feature in FEATURES if feature in (features or usual.features)),
    )
