"""What a user may write of one stream of their own."""

from dataclasses import dataclass

from coupled.config.fields import Schedule, option
from coupled.streams import DTYPES, KINDS, Shape


@dataclass(frozen=True)
class OwnStream(Schedule):
    """[record.own.<name>] When a stream of one's own records, and of which arms."""

    # None: not written. A resolved config has a number.
    every: int | None = option(  # type: ignore[reportIncompatibleVariableOverride]
        None,
        "every k-th step, from step 0 (0: no such part); default, if no part is given: 1, and of a panel's stream the "
        "schedule of record.panel",
        kind="recorded",
        low=0,
    )
    arms: tuple[str, ...] = option((), "these arms; default: all", kind="recorded")
    of: str | None = option(
        None, "what it looks at; filled in, and refused when it does not fit", kind="recorded", choices=KINDS
    )
    shape: Shape = option((), "shape of a row; filled in, and refused when it does not fit", kind="recorded", low=1)
    dtype: str | None = option(
        None, "type of its elements; filled in, and refused when it does not fit", kind="recorded", choices=DTYPES
    )

    @property
    def schedule(self) -> Schedule:
        """When it records."""
        return Schedule(self.every or 0, self.log, self.steps, self.last)
