"""A value as TOML."""

import os
from numbers import Integral, Real
from typing import Any


def toml_value(value: Any) -> str:
    """Of numbers (numpy's too), strings, paths, lists, tables in one line. Another value stands as Python shows it: no
    field takes it.
    """
    if type(value).__name__ in ("bool", "bool_"):  # numpy's too, which is no bool of Python's
        return str(value).lower()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, Integral):
        return str(int(value))
    # float32's .1 is meant as .1, not as the float64 nearest to it.
    return repr(float(str(value))) if isinstance(value, Real) else repr(value)
