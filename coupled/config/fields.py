"""How a config field says what it is: meaning, class, range. Help, validation and digest are generated from it."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

# identity: changes the bits of training. recorded: changes what is written, not what is trained.
# elastic: changes neither (names, paths); it stays out of run.json and of the digest.
CLASSES = ("identity", "recorded", "elastic")


def option(
    default: Any,
    meaning: str,
    *,
    kind: str = "identity",
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    open_low: bool = False,
    open_high: bool = False,
    path: bool = False,
    rounded: bool = False,
    later: bool = False,
    states: bool = True,
) -> Any:
    """A dataclass field with its meaning, class and allowed values (`open_*`: the end itself is not allowed).

    `path`: it names a file or folder, in which `~` is a home folder. `rounded`: the run computes with it in its own
    precision, which must hold it. `later`: the field came after format 3 (`formats`), so it is left out of run.json
    while it has its default, which must mean "as without it". `states`, of a stream's schedule: the stream looks at
    states, and so at the last one too, which has no batch.
    """
    assert kind in CLASSES
    bounds = (low, high, open_low, open_high)
    metadata = {
        "meaning": meaning,
        "kind": kind,
        "choices": choices,
        "bounds": bounds,
        "path": path,
        "rounded": rounded,
        "later": later,
        "states": states,
    }
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    if isinstance(default, (dict, list)) or dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def allowed(metadata: Any) -> str:
    """The allowed values of a field in words: "one of a, b", "0 < value ≤ 1", or "" when only the type limits."""
    if metadata["choices"]:
        return "one of " + ", ".join(metadata["choices"])
    low, high, open_low, open_high = metadata["bounds"]
    if low is None and high is None:
        return ""
    left = "" if low is None else f"{low:g} {'<' if open_low else '≤'} "
    large = isinstance(high, int) and high > 1e9
    shown = f"2^{int(high).bit_length()}−1" if large else f"{high:g}" if high is not None else ""
    right = "" if high is None else f" {'<' if open_high else '≤'} {shown}"
    return f"{left}value{right}"


def within(value: float, metadata: Any) -> bool:
    """Is `value` inside the field's bounds? NaN and infinities are inside none."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    low, high, open_low, open_high = metadata["bounds"]
    above = low is None or (value > low if open_low else value >= low)
    below = high is None or (value < high if open_high else value <= high)
    return above and below


@dataclass(frozen=True)
class Schedule:
    """When a stream records or a checkpoint is kept: the union of its parts; empty means never.

    Step t is the state after t updates; a run of T steps has the states 0 … T.
    """

    every: int = option(0, "every k-th step, from step 0 (0: no such part)", kind="recorded", low=0)
    log: int = option(
        0, "this many points per decade, with step 0: 2 gives 0 1 3 10 30 100 …", kind="recorded", low=0, high=100
    )
    steps: tuple[int, ...] = option((), "these steps", kind="recorded", low=0)
    last: bool = option(False, "the last step as well", kind="recorded")

    def upto(self, last: int) -> list[int]:
        """The scheduled steps in 0 … `last`, ascending."""
        chosen = {step for step in self.steps if step <= last}
        if self.every:
            chosen.update(range(0, last + 1, self.every))
        if self.log:
            chosen.update({0} | _log_spaced(self.log, last))
        return sorted(chosen | ({last} if self.last else set()))


def _log_spaced(per_decade: int, last: int) -> set[int]:
    # Up to three points a decade one significant digit is enough (1 3 10 30; 1 2 5 10), beyond it two are.
    digits = 1 if per_decade <= 3 else 2
    points, k = set(), 0
    while (step := round(float(f"{10 ** (k / per_decade):.{digits - 1}e}"))) <= last:
        points.add(step)
        k += 1
    return points
