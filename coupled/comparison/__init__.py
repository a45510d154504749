"""`coupled-run diff`: where two runs part, by how much, and how their configs differ."""

from dataclasses import dataclass
from pathlib import Path

from coupled.comparison.facts import Fact, facts_differing
from coupled.comparison.records import Records, first_difference
from coupled.comparison.rows import RowDifference
from coupled.comparison.states import StateDifference, states_differing, z_growth
from coupled.opened import read_run
from coupled.shards import Shards


@dataclass(frozen=True)
class Diff:
    """What two runs differ in.

    `facts`: fields of run.json. `step`: the first recorded step at which anything that both record differs, None where
    nothing does; `rows`: what differs there, causes before effects. `states`: at every common checkpoint, arm by arm.
    `growth`: (step, arm, largest |Δz|) at log-spaced common steps. `reach`: the last recorded step of each. `only`:
    arms and streams that one of them has alone, in words.
    """

    runs: tuple[Path, Path]
    facts: tuple[Fact, ...]
    step: int | None
    rows: tuple[RowDifference, ...]
    states: tuple[StateDifference, ...]
    growth: tuple[tuple[int, str, float], ...]
    reach: tuple[int | None, int | None]
    only: tuple[str, ...]
    opened: int

    @property
    def equal(self) -> bool:
        """Is everything that both recorded the same, byte for byte?"""
        return self.step is None and not any(state.layers for state in self.states)

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.equal:
            return f"equal: what both recorded is the same, byte for byte (to step {self.reach[0]}, {self.reach[1]})"
        if self.step is None:
            state = next(state for state in self.states if state.layers)
            return f"first difference: the checkpoint at step {state.step}, arm {state.arm}; no recorded row differs"
        first = self.rows[0]
        return f"first difference: step {self.step}, {first.name}, {first.size}; {first.meaning(self.step)}"


def diff(a: str | Path, b: str | Path) -> Diff:
    """Compare two run directories, finished or not. Raises UserError where there is no run, StoreError for damage.

    With equal fingerprints equal hashes mean equal bytes, and only shards whose hashes differ are opened.
    """
    paths = Path(a), Path(b)
    opened = [read_run(path) for path in paths]
    shards = [
        Shards(path, config, manifest, facts["fingerprint"], verified=False)
        for path, (facts, config, manifest) in zip(paths, opened, strict=True)
    ]
    records = Records(*shards, layers=[layer["name"] for layer in opened[0][0]["layers"]])
    same_network = opened[0][0]["layers"] == opened[1][0]["layers"]
    step, rows = first_difference(records, compare_layers=same_network)
    states = states_differing(paths, opened)
    growth = () if step is None else tuple(z_growth(records))
    manifests = [manifest for _, _, manifest in opened]
    reach = [max((e.last for e in m.entries if e.kind == "shard"), default=None) for m in manifests]
    return Diff(
        runs=paths,
        facts=tuple(facts_differing(opened[0][0], opened[1][0])),
        step=step,
        rows=tuple(rows),
        states=tuple(states),
        growth=growth,
        reach=(reach[0], reach[1]),
        only=tuple(records.only()),
        opened=len(shards[0].opened | shards[1].opened),
    )
