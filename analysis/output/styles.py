"""How arms look in every figure: each its own colour and line, safe for colour-blind eyes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from analysis.runs.controls import control_of
from coupled.config import Arm

# Okabe and Ito 2008. Controls are broken, so that a full line always means an objective of its own: grey where they
# minimise the loss of the arm that they copy on its inputs, of a dull colour where loss, path or inputs are others.
OBJECTIVES: Final = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_FIRST: Final = "#1A1A1A"
_CONTROLS: Final[dict[str, tuple[str, Literal["--", "-.", ":"]]]] = {
    "twin": ("#8C8C8C", ":"),
    "nudged": ("#6E6E6E", "--"),
    "independent": ("#A6A6A6", "-."),
    "placebo": ("#8A6642", "--"),
    "anti": ("#7D5A80", "-."),
    "kicked": ("#5E7A4E", ":"),
    "other-inputs": ("#4C6E8A", "-."),
}
# How train and test look where a figure has both, and what its caption says of them.
SPLIT_LOOKS: Final[dict[str, dict[str, Any]]] = {
    "train": {"linestyle": (0, (3, 1.2)), "linewidth": 1.4, "markerfacecolor": "white", "zorder": 3},
    "test": {"linestyle": "-", "linewidth": 2.0, "zorder": 4},
}
SPLIT_WORDS: Final = {"test": "solid: test", "train": "dashed: train"}
# The second and third control of one kind: of a grey one another shade, of another one another line.
_GREY: Final = ("twin", "nudged", "independent")
_SHADES: Final = ("", "#404040", "#BDBDBD")
_BROKEN: Final[tuple[Literal["--", "-.", ":"], ...]] = ("--", "-.", ":")

RC: Final[dict[str, object]] = {
    "font.size": 13,
    "axes.titlesize": 15,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 12.5,
    # Without a salt every save of an SVG has other ids.
    "svg.hashsalt": "coupled",
}


@dataclass(frozen=True)
class Style:
    """Colour, line style and legend text of an arm; a marker, where line styles stand for something else."""

    colour: str
    line: Literal["-", "--", "-.", ":"]
    label: str
    marker: str = ""

    @property
    def drawn(self) -> dict[str, Any]:
        """Colour, line and marker as matplotlib takes them."""
        drawn = {"color": self.colour, "linestyle": self.line}
        return {**drawn, "marker": self.marker} if self.marker else drawn


def styles(arms: Mapping[str, Arm]) -> dict[str, Style]:
    """The style of every arm, by its place among the arms of its kind."""
    seen: dict[str, int] = {}
    by_arm = {}
    for name, spec in arms.items():
        index = seen[spec.kind] = seen.get(spec.kind, -1) + 1
        if spec.kind == "objective":
            colour, line = OBJECTIVES[(index - 1) % len(OBJECTIVES)] if index else _FIRST, "-"
        else:
            colour, line = _CONTROLS[spec.kind]
            if spec.kind in _GREY:
                colour = _SHADES[index % len(_SHADES)] or colour
            else:
                line = _BROKEN[(_BROKEN.index(line) + index) % len(_BROKEN)]
        by_arm[name] = Style(colour, line, f"{name}: {_described(arms, spec)}")
    return by_arm


def _described(arms: Mapping[str, Arm], spec: Arm) -> str:
    usual = spec.of or next(iter(arms))
    if spec.kind in ("placebo", "anti"):
        usual = arms[usual].reference or usual
    against = "" if spec.reference in (None, usual) else f", against {spec.reference}"
    if control := control_of(spec):
        return f"{control}{against}"
    temperatures = {other.temperature for other in arms.values()}
    tau = f", τ = {spec.temperature:g}" if len(temperatures) > 1 and spec.objective != "ce" else ""
    # CL's formulas take no labels: naming some would say that they use them.
    labels = "" if spec.objective in ("dcl", "nt_xent") else f" on {spec.labelling}"
    lam = "" if spec.lam is None else f", λ = {spec.lam:g}"
    positive = " with the positive" if spec.positive_in_denominator else ""
    return f"{spec.objective}{positive}{labels}{lam}{tau}{against}"
