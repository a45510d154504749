"""Train contrastive objectives in lockstep under shared randomness, and record every step.

`coupled.train("configs/quickstart.toml")` does what `coupled-run train` does. A config's own code
(`code.files`) registers objectives, data sets, encoders and streams with `register_objective` and its like.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coupled.comparison import diff as diff
    from coupled.config import load as load
    from coupled.data import register_data_set as register_data_set
    from coupled.memory import tune_memory as tune_memory
    from coupled.models.registry import register_encoder as register_encoder
    from coupled.notebook import resume as resume
    from coupled.notebook import train as train
    from coupled.objectives.registry import register_objective as register_objective
    from coupled.reading.export import export as export
    from coupled.streams import register_stream as register_stream
    from coupled.verification import verify as verify

# Lazily: `coupled.store` must be importable without torch.
_HOMES = {
    "diff": "coupled.comparison",
    "export": "coupled.reading.export",
    "load": "coupled.config",
    "register_data_set": "coupled.data",
    "register_encoder": "coupled.models.registry",
    "register_objective": "coupled.objectives",
    "register_stream": "coupled.streams",
    "resume": "coupled.notebook",
    "train": "coupled.notebook",
    "tune_memory": "coupled.memory",
    "verify": "coupled.verification",
}

__all__ = [
    "diff",
    "export",
    "load",
    "register_data_set",
    "register_encoder",
    "register_objective",
    "register_stream",
    "resume",
    "train",
    "tune_memory",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "__version__":
        return _version()
    raise AttributeError(f"module 'coupled' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _version() -> str:
    """That of the distribution; "unknown" where the package runs from its source tree and was not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("coupled")
    except PackageNotFoundError:
        return "unknown"
