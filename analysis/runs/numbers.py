"""How a measured value is written wherever people read it."""

import math
from typing import Final

ABSENT: Final = "–"  # for what is not recorded


def number(value: float | None, digits: int = 4) -> str:
    """A measured value wherever people read it, in a terminal, a notebook or a report: "0.9409" (so many decimals below
    10, so many digits from there, and of what is tiny), "0" where it is exactly that, "undefined" for NaN, a dash for
    what is not recorded.
    """
    if value is None:
        return ABSENT
    if math.isnan(value):
        return "undefined"
    if value == 0:
        return "0"  # 0.0000 would leave open whether it is exactly zero
    return f"{value:,.{digits}f}" if 1e-3 <= abs(value) < 10 else f"{value:,.{digits}g}"
