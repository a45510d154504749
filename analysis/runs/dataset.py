"""The recorded numbers of a run as an xarray Dataset: one array over steps and arms, and layers, for every column.

Shapes: T steps, A arms, L layers of the network that all arms share.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.extra import extra
from coupled.config.own_streams import PREFIX
from coupled.errors import UserError, unknown
from coupled.reading.records import Records
from coupled.recording.layout import SHARED, Column

# Our streams of numbers, each with what the names of its variables begin with.
STREAMS: Final = {"scalars": "", "layers": "layer_", "motion": "", "ledger": "ledger_"}
_GROUPS: Final = {
    "state": "of the state after this many updates",
    "batch": "of the batch of this step, under the weights before its update",
    "update": "of the update from this step to the next",
}
_MOST: Final = 2 << 30  # bytes
# In words, by the column without its labelling or arm; what is not here is called by its name.
_WORDS: Final = {
    "loss": "the arm's own loss",
    "loss_of": "the loss of another arm on this arm's similarities",
    "gap": "exact loss gap CL − NSCL",
    "mass": "mean softmax mass of same-class samples among the negatives",
    "skipped": "anchors left out of gap and mass",
    "gap_with_positive": "exact loss gap with the positive in the denominator",
    "mass_with_positive": "same-class softmax mass with the positive in the denominator",
    "weight_gap": "mean relative distance to the reference's weights over encoder layers",
    "distance": "Euclidean distance of all weights to the reference's",
    "norm": "Euclidean norm of all weights",
    "learning_rate": "learning rate of the update that follows",
    "moved": "Euclidean distance of all weights from the arm's own start",
    "cosine": "cosine of the way from the start with the reference's way",
    "layer_moved": "distance of a layer's weights from their start",
    "layer_norm": "norm of a layer's weights",
    "layer_gradient_norm": "norm of the gradient of a layer's weights",
    "layer_update_norm": "norm of the update of a layer's weights",
    "layer_distance": "distance of a layer's weights to the reference's",
    "layer_angle": "angle between a layer's weights and the reference's",
}
_UNITS: Final = {"layer_angle": "rad", "loss": "nat", "loss_of": "nat", "gap": "nat", "gap_with_positive": "nat"}


@dataclass(frozen=True)
class _Variable:
    """One variable to be: the column of a stream, and who has it."""

    name: str
    stream: str
    column: str
    by_layer: bool
    owners: tuple[str, ...]


def dataset(run: Records, streams: Sequence[str] = ()) -> Any:
    """The Dataset of some streams of numbers, by default of all that are recorded: `Run.to_xarray`."""
    xarray = extra("xarray", "xarray", "to_xarray", of="xarray")
    streams, known = tuple(dict.fromkeys(streams)), _streams(run)
    for stream in streams:
        if stream not in known:
            raise _not_of_numbers(run, stream, known)
        if not run.schedules(stream):
            raise UserError(f"{run.path} records no {stream}", "its schedule is empty", "train with one")
    variables = [
        variable for stream in (streams or known) if run.schedules(stream) for variable in _variables(run, stream)
    ]
    if not variables:
        why = "nothing of it is committed yet" if not run.finished else "it records none of " + ", ".join(known)
        raise UserError(f"{run.path} has no numbers", why)
    steps = np.unique(np.concatenate([_steps(run, variable) for variable in variables]))
    _must_fit(run, variables, len(steps))
    recorded = np.zeros((len(variables), len(steps), len(run.arms)), np.bool_)
    arrays: dict[str, Any] = {
        variable.name: _array(run, variable, steps, there) for variable, there in zip(variables, recorded, strict=True)
    }
    about = {"long_name": "is there a record of this variable at this step?"}
    arrays["recorded"] = (("variable", "step", "arm"), recorded, about)
    return xarray.Dataset(arrays, _coordinates(run, steps, variables), _facts(run))


def _streams(run: Records) -> list[str]:
    """The streams that may be variables: ours, and those of the user's own whose rows are numbers, or one by layer."""
    own = {stream: next(iter(run.layout[stream].values())) for stream in run.layout if stream.startswith(PREFIX)}
    return [*STREAMS, *(stream for stream, columns in own.items() if all(map(_is_of_arms, columns.values())))]


def _not_of_numbers(run: Records, stream: str, known: Sequence[str]) -> UserError:
    if stream in run.layout and stream.startswith(PREFIX):
        (column,) = next(iter(run.layout[stream].values())).values()
        shown = f"{stream} has rows of shape {column.shape}"
        return UserError(
            shown, "a variable has a number, or one by layer", f'use run.own("{stream[len(PREFIX) :]}", …)'
        )
    return unknown("stream of numbers", stream, known)


def _variables(run: Records, stream: str) -> list[_Variable]:
    """The columns of a stream that are numbers, or numbers by layer, of every arm that has committed some."""
    owners: dict[str, list[str]] = {}
    kinds: dict[str, Column] = {}
    for owner, columns in run.layout[stream].items():
        for name, column in columns.items():
            if _is_number(stream, name, column) and (stream, owner) in run.shards:
                owners.setdefault(name, []).append(owner)
                kinds[name] = column
    return [
        _Variable(_name(stream, column), stream, column, kinds[column].by_layer, tuple(own))
        for column, own in owners.items()
        if len(_committed(run, stream, column, own))
    ]


def _is_number(stream: str, name: str, column: Column) -> bool:
    is_real = column.dtype == "float64" or stream.startswith(PREFIX)  # our other numbers are ids and digests
    return is_real and not name.startswith("fixed.") and _is_of_arms(column)


def _is_of_arms(column: Column) -> bool:
    return column.shape == () or column.by_layer


def _name(stream: str, column: str) -> str:
    """The variable of a column: "loss", "gap.size", "layer_update_norm"; the group is told where it is needed. A
    stream of the user's own has its own name.
    """
    if stream.startswith(PREFIX):
        return stream
    group, _, name = column.partition(".")
    return f"{STREAMS[stream]}{f'{group}_{name}' if group == 'update' else name}"


def _committed(run: Records, stream: str, column: str, owners: Sequence[str]) -> NDArray[np.int64]:
    group = column.partition(".")[0]
    return np.concatenate([run.committed_steps(stream, owner, group) for owner in owners])


def _steps(run: Records, variable: _Variable) -> NDArray[np.int64]:
    return _committed(run, variable.stream, variable.column, variable.owners)


def _array(
    run: Records, variable: _Variable, steps: NDArray[np.int64], there: NDArray[np.bool_]
) -> tuple[tuple[str, ...], NDArray[np.float64], dict[str, str]]:
    """Dimensions, values and attributes of a variable; `there` (T, A) is set where it is recorded."""
    arms = list(run.arms)
    alone = variable.owners == (SHARED,)
    layers = (len(run.facts["layers"]),) if variable.by_layer else ()
    values = np.full((len(steps), *(() if alone else (len(arms),)), *layers), math.nan)
    for owner in variable.owners:
        at, recorded = run.column(variable.stream, owner, variable.column)
        rows = np.searchsorted(steps, at)
        if alone:
            values[rows], there[rows] = recorded, True
        else:
            values[rows, arms.index(owner)] = recorded
            there[rows, arms.index(owner)] = True
    dimensions = ("step", *(() if alone else ("arm",)), *(("layer",) if variable.by_layer else ()))
    return dimensions, values, _attributes(variable)


def _attributes(variable: _Variable) -> dict[str, str]:
    group = variable.column.partition(".")[0]
    place = {"column": f"{variable.stream}: {variable.column}", "at": _GROUPS[group], "ancillary_variables": "recorded"}
    if variable.stream.startswith(PREFIX):  # nobody knows its unit
        return {"long_name": f"{variable.stream.removeprefix(PREFIX)}, a stream of the user's own", **place}
    kind, _, of = variable.name.partition(".")
    permuted = kind.startswith("permuted_")
    kind = kind.removeprefix("permuted_")
    words = _WORDS.get(kind, variable.name.replace("_", " "))
    words += f" ({of})" if of else ", of the permuted labels" if permuted else ""
    return {
        "long_name": words,
        "units": _UNITS.get(kind, "1"),
        **place,
    }


def _coordinates(run: Records, steps: NDArray[np.int64], variables: Sequence[_Variable]) -> dict[str, Any]:
    specs = run.arms.values()
    arms = {
        name: (("arm",), [getattr(spec, name) or "" for spec in specs])
        for name in ("kind", "objective", "labelling", "reference")
    }
    coordinates = {
        "step": (("step",), steps, {"long_name": "updates made before", "units": "1"}),
        "arm": (("arm",), list(run.arms), {"long_name": "arm"}),
        **arms,
        "variable": (("variable",), [variable.name for variable in variables]),
    }
    if any(variable.by_layer for variable in variables):
        layers = run.facts["layers"]
        counted = [layer["in_weight_gap"] for layer in layers]
        coordinates["layer"] = (("layer",), [layer["name"] for layer in layers], {"long_name": "parameter"})
        coordinates["in_weight_gap"] = (("layer",), counted, {"long_name": "does it count in weight_gap?"})
    return coordinates


def _facts(run: Records) -> dict[str, Any]:
    """Of attributes, netCDF takes numbers and texts."""
    return {
        "run": run.name,
        "config_digest": run.facts["config_digest"],
        "fingerprint": run.facts["fingerprint"],
        "seed": str(run.config.seed),  # up to 2^64 - 1
        "finished": int(run.finished),
        "missing": "NaN is undefined where `recorded` is true, and not recorded where it is false",
    }


def _must_fit(run: Records, variables: Sequence[_Variable], steps: int) -> None:
    layers = len(run.facts["layers"])
    numbers = sum(steps * len(run.arms) * (layers if one.by_layer else 1) for one in variables)
    if 8 * numbers > _MOST:
        raise UserError(
            f"the numbers of {run.path} fill {8 * numbers / 1e9:.1f} GB",
            f"one Dataset takes {_MOST / 1e9:.1f} GB at most",
            'name streams, such as run.to_xarray("scalars")',
        )
