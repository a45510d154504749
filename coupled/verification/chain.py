"""The certificate: a chain of what the arms shared, and one of every other kind of input that some saw, from the
initial weights to the last recorded step.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from coupled.config import Config
from coupled.config.traits import Inputs, own_inputs, traits_of
from coupled.inputs.certificate import Certificate, next_link
from coupled.reading.checkpoints import checkpoints_of
from coupled.reading.records import Records
from coupled.recording.layout import SHARED
from coupled.store import Faults, Manifest, Saved, StoreError, read_saved
from coupled.store.audit import gone_since
from coupled.store.rundir import STATE
from coupled.verification.rebuilt import Findings, Rebuilt, listed

# Steps that are not recorded and are drawn again to join the chain; each takes about a millisecond.
_MOST_DRAWN = 5000
_COLUMNS = ("ids_digest", "draws_digest", "chain")


class _Trail:
    """The chain of a kind of input, walked once: `link` after `at` steps, None where it cannot be known before the next
    recorded step.
    """

    def __init__(self, rebuilt: Rebuilt, inputs: Inputs | None) -> None:
        self._rebuilt, self._inputs = rebuilt, inputs
        start = rebuilt.initial_weights
        self.link: bytes | None = None if start is None else Certificate(bytes.fromhex(start)).link
        self.at = self.drawn = self.skipped = 0

    def go_to(self, step: int) -> None:
        """Past steps that are not recorded, by drawing them again where that is cheap."""
        missing = step - self.at
        if (
            missing
            and self.link is not None
            and self._rebuilt.draws is not None
            and self.drawn + missing <= _MOST_DRAWN
        ):
            for between in range(self.at, step):
                self.link = self._rebuilt.link_after(self.link, between, self._inputs)
            self.drawn += missing
        elif missing:
            self.link, self.skipped = None, self.skipped + missing
        self.at = step

    @property
    def why(self) -> str:
        """Why steps were skipped."""
        return f"at most {_MOST_DRAWN} are" if self._rebuilt.draws is not None else "their order needs the data set"

    def follow(self, ids: np.ndarray, draws: np.ndarray, chain: np.ndarray) -> bool:
        """Over the recorded step `at`, on from the link that is recorded there: does it follow from the one before?"""
        link = None
        if self.link is not None:
            link = next_link(self.link, ids.tobytes(), draws.tobytes(), self._rebuilt.rate(self.at))
        self.link, self.at = chain.tobytes(), self.at + 1
        return link in (self.link, None)


class _Walk(NamedTuple):
    """A chain that was walked by an owner's records: its recorded steps, how many saved states carry its links, and the
    steps of those of which that is not known.
    """

    trail: _Trail
    steps: list[int]
    joined: int
    loose: list[int]


def check_chain(rebuilt: Rebuilt, records: Records, preempted: Sequence[Saved], faults: Faults) -> Findings:
    """Every link follows from the one before it by what the step's records say, and the rate from its schedule; saved
    states carry the links of their steps. So for the chain of every kind of input. Behind a break it is walked on.

    `preempted`: the states in preempt/.
    """
    _check_rates(rebuilt, records, faults)
    states = _states(rebuilt, records.manifest, preempted, faults)
    walks: dict[Inputs | None, list[_Walk]] = {}
    for inputs, owner in rebuilt.recorded_inputs():
        walks.setdefault(inputs, []).append(_walked(rebuilt, records, states, inputs, owner, faults))
    proven, unproven = [], []
    for inputs, of_kind in walks.items():
        # Of a run still written one arm may be a shard ahead.
        findings = _findings(rebuilt, inputs, min(of_kind, key=lambda walk: len(walk.steps)))
        proven += findings.proven
        unproven += findings.unproven
    return Findings(proven, unproven)


def _check_rates(rebuilt: Rebuilt, records: Records, faults: Faults) -> None:
    """A fault where a recorded learning rate is not its schedule's."""
    for steps, rates in records.committed("scalars", SHARED, "batch.learning_rate"):
        for step, rate in zip(steps.tolist(), rates, strict=True):
            planned = rebuilt.rate(step)
            if rate.tobytes() != np.float64(planned).tobytes():
                path = records.path_of("scalars", SHARED, step)
                why = f"the learning rate of step {step} is {float(rate)!r}, the schedule's {planned!r}"
                faults.add(StoreError(path, why), "rate")


def _walked(
    rebuilt: Rebuilt,
    records: Records,
    states: Mapping[int, Sequence[Saved]],
    inputs: Inputs | None,
    owner: str,
    faults: Faults,
) -> _Walk:
    """The chain of `inputs` by the records of an owner that sees them."""
    rows = _rows(records, owner)
    trail, joined, loose = _Trail(rebuilt, inputs), 0, []
    for step in sorted(rows.keys() | states.keys()):
        trail.go_to(step)
        for saved in states.get(step, []):
            with faults.noted():
                if _carries(rebuilt, saved, inputs, trail.link):
                    joined += 1
                else:
                    loose.append(step)
        if step in rows and not trail.follow(*rows[step]):
            path = records.path_of("scalars", owner, step)
            why = f"the chain breaks at step {step}: its link does not follow from the records"
            faults.add(StoreError(path, why), "chain")
    return _Walk(trail, sorted(rows), joined, loose)


def _rows(records: Records, owner: str) -> dict[int, tuple[np.ndarray, ...]]:
    """The recorded digests and link of every step, by step."""
    rows = {}
    for blocks in zip(*(records.committed("scalars", owner, f"batch.{name}") for name in _COLUMNS), strict=True):
        values = zip(*(values for _, values in blocks), strict=True)
        rows |= dict(zip(blocks[0][0].tolist(), values, strict=True))
    return rows


def _findings(rebuilt: Rebuilt, inputs: Inputs | None, walk: _Walk) -> Findings:
    proven, unproven = [], []
    trail, steps, joined, loose = walk
    of_kind = "" if inputs is None else f" of {inputs}"
    if steps or joined:
        parts = [f"{len(steps)} recorded steps (to step {steps[-1]})"] if steps else []
        parts += [f"{trail.drawn} steps that are not recorded and were drawn again"] if trail.drawn else []
        proven.append(
            f"{'one' if inputs is None else 'other'} input: through {' and '.join(parts) or 'no step'} the chain "
            f"of sample ids, integer draws and learning rates{of_kind} follows from the digest of the shared initial "
            "weights"
            + (f", and {joined} saved states carry its links" if joined else "")
            + f"; {_who_saw_it(rebuilt.config, inputs)}"
        )
    if not steps:
        unproven.append(f"chain{of_kind}: no step of the stream scalars is recorded")
    if trail.skipped:
        unproven.append(
            f"chain{of_kind}: {trail.skipped} steps are not recorded and were not drawn again ({trail.why})"
        )
    if loose:
        unproven.append(
            f"chain{of_kind}: the links that the saved states at {listed(loose)} carry, which lie behind such steps"
        )
    return Findings(proven, unproven)


def _who_saw_it(config: Config, inputs: Inputs | None) -> str:
    """Which arms have these inputs, by construction, and what they share with the others."""
    kinds = own_inputs(config.arms)
    if inputs is None:
        others = {arm for arms in kinds.values() for arm in arms}
        arms = [arm for arm in config.arms if arm not in others]
        which, every = (", ".join(arms), "each of them") if others else ("all arms", "every arm")
        return f"that {which} saw it is by construction: one batch is made and handed to {every}"
    arms = kinds[inputs]
    apart = [arm for arm in arms if not traits_of(config.arms, arm).starts_shared]
    start = f"initial weights (but of {', '.join(apart)})" if apart else "initial weights"
    kept = "each sample's views at its visit" if inputs.of_order else "ids and visits of every batch"
    return f"{', '.join(arms)} saw it by construction, and shared with the others {start}, learning rates and {kept}"


def _states(rebuilt: Rebuilt, manifest: Manifest, preempted: Sequence[Saved], faults: Faults) -> dict[int, list[Saved]]:
    """Checkpoints that are not retired, and what is in preempt/, by step."""
    states: dict[int, list[Saved]] = {}
    for step, entry in checkpoints_of(rebuilt.path, manifest).items():
        try:
            states.setdefault(step, []).append(read_saved(rebuilt.path, entry))
        except StoreError as error:
            if not gone_since(rebuilt.path, str(entry.name), manifest):
                faults.add(error)
    for saved in preempted:
        states.setdefault(saved.step, []).append(saved)
    return states


def _carries(rebuilt: Rebuilt, saved: Saved, inputs: Inputs | None, link: bytes | None) -> bool:
    """Does a saved state carry this link of the chain of a kind of input? False where that is not known. StoreError
    where it carries another, or chains of other kinds than the run's.
    """
    path, state = rebuilt.path / saved.folder / STATE, saved.state
    fingerprint: Any = state.get("fingerprint")
    if fingerprint != rebuilt.facts["fingerprint"]:
        raise StoreError(
            path, f"the state at step {saved.step} has the fingerprint {fingerprint}; it is of another run"
        )
    chains: Any = state.get("chains", {})
    kinds = {kind.key for kind in own_inputs(rebuilt.config.arms)}
    if not isinstance(chains, dict) or chains.keys() != kinds:
        raise StoreError(path, f"the state at step {saved.step} has not the chains of the run's kinds of input")
    carried = state.get("chain") if inputs is None else chains[inputs.key]
    if link is not None and carried != link.hex():
        raise StoreError(path, f"the state at step {saved.step} carries another chain than the records have there")
    return link is not None
