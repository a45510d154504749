"""The sections of a config that say what is recorded of a run, and when: one schedule for every stream."""

from dataclasses import dataclass

from coupled.config.fields import Schedule, option


@dataclass(frozen=True)
class Record:
    """[record.<stream>] When each stream records."""

    scalars: Schedule = option(Schedule(every=1), "losses, gap, same-class mass, weight gap, digests", kind="recorded")
    layers: Schedule = option(Schedule(every=1), "per-layer norms, distances, angles", kind="recorded")
    motion: Schedule = option(
        Schedule(every=1), "distance from the arm's own start, and its direction", kind="recorded"
    )
    similarity: Schedule = option(
        Schedule(every=1), "each arm's batch similarity matrix as its factor z", kind="recorded", states=False
    )
    panel: Schedule = option(Schedule(log=2, last=True), "h and z of the panel, eval mode", kind="recorded")
    surrogate: Schedule = option(Schedule(log=2, last=True), "z of the surrogate panel, eval mode", kind="recorded")
    flips: Schedule = option(
        Schedule(),
        "units whose sign differs between an arm and its reference, by stage; default: never",
        kind="recorded",
        later=True,
    )
    pixels: Schedule = option(Schedule(log=2), "digest of every view's pixels", kind="recorded", states=False)
    ledger: Schedule = option(
        Schedule(),
        "what the arm's divergence from its reference is made of, layer by layer: a backward more of every arm",
        kind="recorded",
        later=True,
    )


@dataclass(frozen=True)
class Ledger:
    """[ledger] What the stream of that name tells besides."""

    contrast: tuple[str, ...] = option(
        (),
        "arms whose gradient is taken at their reference's weights as well: a backward more of the reference for each",
        kind="recorded",
        later=True,
    )
