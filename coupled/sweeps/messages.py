"""What a worker of a sweep says to the process that started it, over their connection. What it is given is a Config."""

from typing import Final, Literal, NamedTuple

# The word with which a worker, or the command of a job, resumes points under other conditions than they were made.
DRIFT: Final = "--allow-drift"


class Message(NamedTuple):
    """`begun`: at this step; `stepped`: this step is done, at so many steps a second; `note` and `failed`: the text.
    `finished`, `failed` and `stopped` (it was asked to) are the last of a point.
    """

    kind: Literal["begun", "stepped", "note", "finished", "failed", "stopped"]
    text: str = ""
    step: int = 0
    rate: float = 0.0
