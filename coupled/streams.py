"""Streams of a user's own: what a function is given of an arm, and the functions that files have registered."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from coupled.errors import UserError
from coupled.models.flat import Segment
from coupled.userfiles import calling_file, check_name

# What a stream looks at: an arm at a training step, or an arm on the panel.
KINDS: Final = ("step", "panel")
DTYPES: Final = ("float64", "float32", "int64")
# The sizes of a config that a shape may name, in words.
SIZES: Final[Mapping[str, str]] = {
    "batch": "B, the samples of a batch",
    "views": "2B",
    "layers": "the layers that all arms have",
    "features": "the dimension of h",
    "projection": "the dimension of z",
    "panel": "the samples of the panel",
}
Shape = tuple[int | str, ...]


class Layers(Mapping[str, Tensor]):
    """Parts of a flat vector by the names of layers, in the network's order; a view is made when it is asked for."""

    def __init__(self, flat: Tensor, segments: Sequence[Segment]) -> None:
        self.flat = flat.detach()
        self._segments = {segment.name: segment for segment in segments}

    def __getitem__(self, name: str) -> Tensor:
        return self._segments[name].view(self.flat)

    def __iter__(self) -> Iterator[str]:
        return iter(self._segments)

    def __len__(self) -> int:
        return len(self._segments)


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmAtStep:
    """An arm at a step: after its backward, before its update. Tensors are the run's own: they are to be read only.

    `z` (2B, d) with view 1 first, `sigma` = z zᵀ (2B, 2B) and `loss` 0-d, in the run's precision, and `labels` int64
    (B,) by labelling, on the arms' device; `ids` int64 (B,) on the CPU. `weights` and `gradients` by layer, of what all
    arms have; `head` has the weights of a classifier, of a ce arm alone. All are of the whole batch, also where ranks
    share it. Gradients are those before clipping.
    """

    step: int
    arm: str
    learning_rate: float
    temperature: float
    z: Tensor
    sigma: Tensor
    loss: Tensor
    ids: Tensor
    labels: Mapping[str, Tensor]
    weights: Layers
    gradients: Layers
    head: Layers

    def given(self) -> dict[str, Tensor]:
        """Every tensor that it holds, by name."""
        of_batch = {"z": self.z, "sigma": self.sigma, "loss": self.loss, "ids": self.ids, **_named(self.labels)}
        return {**of_batch, "weights": self.weights.flat, "gradients": self.gradients.flat}


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmOnPanel:
    """What an arm makes of the panel, in evaluation mode, after `step` updates. Tensors are to be read only.

    `h` (n, D) and `z` (n, d) in the run's precision, and `labels` int64 (n,) by labelling, on the arms' device; `ids`
    int64 (n,), of the test split, on the CPU.
    """

    step: int
    arm: str
    temperature: float
    h: Tensor
    z: Tensor
    ids: Tensor
    labels: Mapping[str, Tensor]

    def given(self) -> dict[str, Tensor]:
        """Every tensor that it holds, by name."""
        return {"h": self.h, "z": self.z, "ids": self.ids, **_named(self.labels)}


def _named(labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"labels.{name}": values for name, values in labels.items()}


StreamFunction = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Registered:
    """A function with what it was registered as. `origin`: the file that did it."""

    function: StreamFunction
    of: str
    shape: Shape
    dtype: str
    origin: str


_registered: dict[str, Registered] = {}


def register_stream(
    name: str, *, of: str = "step", shape: Sequence[int | str] = (), dtype: str = "float64"
) -> Callable[[StreamFunction], StreamFunction]:
    """Decorator that makes a function a stream, which a config records with a table [record.own.<name>].

    `of` = "step": the function is given an `ArmAtStep`; "panel": an `ArmOnPanel`. What it returns is a tensor of this
    shape (integers from 1, and names of `SIZES`) and dtype (one of `DTYPES`), at every step. It depends on what it is
    given alone, draws nothing at random and changes nothing. The file that calls this may do so again, which replaces.
    Raises UserError for a name that is taken, or not made of letters, digits, '_' and '-', and for another `of`, shape
    or dtype.
    """
    origin = calling_file()
    check_name("stream", name, taken=name in _registered and _registered[name].origin != origin)
    where = f"stream {name}: "
    if of not in KINDS:
        raise UserError(f"{where}of = {of!a}", "one of " + ", ".join(KINDS))
    if dtype not in DTYPES:
        raise UserError(f"{where}dtype = {dtype!a}", "one of " + ", ".join(DTYPES))
    shape = check_shape(shape, where)

    def register(function: StreamFunction) -> StreamFunction:
        _registered[name] = Registered(function, of, shape, dtype, origin)
        return function

    return register


def check_shape(shape: Sequence[int | str], where: str = "") -> Shape:
    """The shape as a tuple. UserError, with `where` before it, unless it is of integers from 1 and names of sizes."""
    whole = isinstance(shape, tuple | list) and all(
        size in SIZES if isinstance(size, str) else type(size) is int and size >= 1 for size in shape
    )
    if not whole:
        allowed = "a tuple of integers from 1 and of " + ", ".join(SIZES)
        raise UserError(f"{where}shape = {shape!a}", allowed, "() is a number")
    return tuple(shape)


def registered(name: str) -> Registered | None:
    """The function of a stream; None where nobody registered one."""
    return _registered.get(name)


def forget(name: str) -> None:
    """Take back a registration, if there is one."""
    _registered.pop(name, None)


def known() -> list[str]:
    """The names of all registered streams, in their order."""
    return [*_registered]
