"""What stands where there is no number."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gap:
    """No number, and why, in words."""

    reason: str

    def __str__(self) -> str:
        return f"none: {self.reason}"
