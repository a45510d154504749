"""Train contrastive objectives in lockstep under shared randomness, and record every step.

`coupled.train(coupled.load("configs/quickstart.toml"))` does what `coupled-run train` does.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coupled.config import load as load
    from coupled.driver import train as train

__all__ = ["load", "train"]


def __getattr__(name: str) -> Any:
    # Lazily: `coupled.store` must be importable without torch.
    if name == "train":
        from coupled.driver import train

        return train
    if name == "load":
        from coupled.config import load

        return load
    raise AttributeError(f"module 'coupled' has no attribute {name!r}")
