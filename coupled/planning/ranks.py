"""How many ranks a run gets when nobody says: as many as pay back their start. From its config and the cores alone."""

from dataclasses import dataclass
from typing import Final

from coupled.arms.network import forward_on_shapes
from coupled.config import Config
from coupled.ranks.placement import cores, most_ranks

START_S: Final = 10.0  # from the command to the first step of ranks: each loads torch, then they meet
# Floating-point operations a second, of a thread and of a GPU: many, so that what ranks save is not overstated.
_OF_THREAD, _OF_GPU = 20e9, 2e13
_A_STEP: Final = 6  # of a multiply-add: two operations forwards, four backwards


@dataclass(frozen=True)
class World:
    """So many ranks, and why, in words."""

    ranks: int
    why: str


def default_world(config: Config) -> World:
    """The ranks that the config asks for, else one for every arm as far as cores or GPUs go, where they save more than
    twice the seconds that they take to start.

    What they save is estimated: convolutions and linear maps of all steps at a fixed rate, so that the answer is the
    same each time. Bytes of a run do not depend on it.
    """
    if config.ranks.arms is not None or config.ranks.data is not None:
        return World((config.ranks.arms or 1) * (config.ranks.data or 1), "as the config asks")
    ranks = most_ranks(config)
    if ranks == 1:
        few = "too few GPUs for two ranks"
        if config.train.device != "cuda":
            few = f"too few cores for two ranks of {_threads(config)}"
        return World(1, "one arm" if len(config.arms) == 1 else few)
    saved = seconds(config, len(config.arms)) - seconds(config, -(-len(config.arms) // ranks))
    worth = f"{ranks} ranks save about {saved:,.0f} s of computing and take {START_S:.0f} s to start"
    return World(ranks if saved > 2 * START_S else 1, worth)


def seconds(config: Config, arms: int) -> float:
    """About how long the arms' forwards and backwards of the whole run take in one process, data and records apart."""
    views = 2 * config.batches.size
    of_step = _A_STEP * forward_on_shapes(config).multiply_adds * views * arms
    return config.train.steps * of_step / rate_of(config)


def rate_of(config: Config) -> float:
    """Floating-point operations a second that estimates count on."""
    return _OF_GPU if config.train.device == "cuda" else _OF_THREAD * config.train.threads


def _threads(config: Config) -> str:
    return f"{config.train.threads} thread{'s' * (config.train.threads != 1)}"


def too_many_threads(config: Config, ranks: int) -> str:
    """A line where the threads of all ranks are more than the cores here, else ""; nothing on a GPU."""
    threads, here = config.train.threads * ranks, cores()
    if config.train.device != "cpu" or threads <= here:
        return ""
    of_ranks = f"{ranks} ranks of {_threads(config)}" if ranks > 1 else _threads(config)
    return f"{of_ranks} wait for each other on {here} core{'s' * (here != 1)}: set train.threads, or start fewer ranks"
