"""The certificate: one chain of what the arms shared, from the initial weights to the last recorded step."""

import struct
from hashlib import sha256

import numpy as np

from coupled.layout import SHARED
from coupled.learning_rate import learning_rate
from coupled.shards import Shards
from coupled.store import Manifest, StoreError, read_saved
from coupled.store.manifest import MANIFEST
from coupled.verification.redrawn import Here

# Steps between two recorded ones that are drawn again to join the chain; each takes about a millisecond.
_MOST_DRAWN = 5000


def check_chain(here: Here, shards: Shards, manifest: Manifest) -> tuple[list[str], list[str]]:
    """Every link follows from the one before it by what the step's records say, and the rate from its schedule."""
    names = ("learning_rate", "ids_digest", "draws_digest", "chain")
    columns = {name: shards.column("scalars", SHARED, f"batch.{name}") for name in names}
    steps = columns["chain"][0].tolist()
    rows = zip(*(values for _, values in columns.values()), strict=True)
    link, after = sha256(bytes.fromhex(here.facts["certificate"]["initial_weights"])).digest(), 0
    links, drawn, skipped = {0: link}, 0, 0
    for step, (rate, ids, draws, chain) in zip(steps, rows, strict=True):
        if step - after + drawn <= _MOST_DRAWN and (step == after or here.draws):
            for between in range(after, step):
                link, drawn = here.next_link(link, between), drawn + 1
        elif step != after:
            skipped, link = skipped + step - after, None
        _check_rate(here, step, rate)
        if link is not None:
            link = sha256(link + ids.tobytes() + draws.tobytes() + struct.pack("<d", rate)).digest()
            if link != chain.tobytes():
                raise StoreError(
                    here.path, f"the chain breaks at step {step}: its link does not follow from the records"
                )
        link, after = chain.tobytes(), step + 1
        links[after] = link
    joined = _check_checkpoints(here, manifest, links)
    if not steps:
        return [], ["chain: no step of the stream scalars is recorded"]
    said = (
        f"one input: through {len(steps)} recorded steps (to step {steps[-1]}) the chain of sample ids, integer draws "
        "and learning rates follows from the digest of the shared initial weights"
        + (f", {drawn} steps between them drawn again" if drawn else "")
        + (f", and {joined} checkpoints carry its links" if joined else "")
        + "; every arm was handed these same inputs"
    )
    return [said], [f"chain: {skipped} steps that are not recorded were not drawn again"] if skipped else []


def _check_rate(here: Here, step: int, rate: np.ndarray) -> None:
    expected = learning_rate(here.config.optimiser, step, here.config.batches.size)
    if struct.pack("<d", rate) != struct.pack("<d", expected):
        raise StoreError(here.path, f"the learning rate of step {step} is {float(rate)!r}, the schedule's {expected!r}")


def _check_checkpoints(here: Here, manifest: Manifest, links: dict[int, bytes]) -> int:
    """How many checkpoints carry the chain's link of their step. StoreError where one carries another."""
    retired, joined = {entry.name for entry in manifest.entries if entry.kind == "retire"}, 0
    for entry in manifest.entries:
        if entry.kind == "checkpoint" and entry.name not in retired and entry.first in links:
            carried = read_saved(here.path, entry).state.get("chain")
            if carried != links[entry.first].hex():
                raise StoreError(here.path / MANIFEST, f"the checkpoint at step {entry.first} carries another chain")
            joined += 1
    return joined
