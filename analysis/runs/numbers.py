"""How a measured value is written wherever people read it."""

import math
from typing import Final

ABSENT: Final = "–"  # for what is not recorded


def number(value: float | None, digits: int = 4) -> str:
    """A measured value wherever people read it, in a terminal, a notebook or a report: "0.9409" (so many decimals from
    .01 to 10, whole from a thousand, so many digits elsewhere), "0" where it is exactly that, "undefined" for NaN, a
    dash for what is not recorded.
    """
    if value is None:
        return ABSENT
    if math.isnan(value):
        return "undefined"
    if value == 0:
        return "0"  # 0.0000 would leave open whether it is exactly zero
    size = abs(round(value, digits))
    if 0.01 <= size < 10:
        return f"{value:.{digits}f}"
    return f"{value:,.0f}" if 999.5 <= size < 999_999.5 else f"{value:.{digits}g}"


def known(value: float) -> str:
    """A value, or a dash for one that is NaN where there is none to tell."""
    return ABSENT if math.isnan(value) else number(value)
