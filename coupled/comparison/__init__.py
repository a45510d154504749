"""`coupled-run diff`: where two runs part, by how much, and how their configs differ."""

from dataclasses import dataclass
from pathlib import Path

from coupled.comparison import verdict
from coupled.comparison.records import RecordPair, first_difference, fixed_differences
from coupled.comparison.rows import RowDifference
from coupled.comparison.run_json import drifts_of, facts_differing, ranks_of
from coupled.comparison.states import Checkpoints, StateDifference, compare_checkpoints, z_growth
from coupled.config.differences import Fact
from coupled.reading.records import Records
from coupled.reading.run_json import read_run
from coupled.recording.layout import Cause
from coupled.store import Manifest


@dataclass(frozen=True)
class Diff:
    """What two runs differ in.

    `facts`: fields of run.json. `step`: the first recorded step at which anything that both record differs, None where
    nothing does; `rows`: what differs there, causes before effects; `fixed`: how the panels themselves differ.
    `states`: at every common checkpoint, arm by arm; `chain`: the first of these that carries another chain of inputs.
    `growth`: (step, arm, largest |Δz|) at log-spaced common steps. `reach`: the last recorded step of each. `only`:
    arms and streams that one of them has alone, in words. `opened`: how many shards were read. `verdict`: one sentence.
    """

    runs: tuple[Path, Path]
    facts: tuple[Fact, ...]
    step: int | None
    rows: tuple[RowDifference, ...]
    fixed: tuple[RowDifference, ...]
    states: tuple[StateDifference, ...]
    chain: int | None
    growth: tuple[tuple[int, str, float], ...]
    reach: tuple[int | None, int | None]
    only: tuple[str, ...]
    opened: int
    equal: bool
    verdict: str


def diff(a: str | Path, b: str | Path) -> Diff:
    """Compare two run directories, finished or not. Raises UserError where there is no run, StoreError for damage.

    Equal hashes mean equal bytes: only shards and checkpoints whose hashes differ are opened, and each is verified
    before it is believed.
    """
    paths = Path(a), Path(b)
    runs = [read_run(path) for path in paths]
    one, other = (
        Records(path, config, facts, manifest) for path, (facts, config, manifest) in zip(paths, runs, strict=True)
    )
    records = RecordPair(one, other)
    step, rows = first_difference(records)
    fixed, kept = fixed_differences(records), compare_checkpoints(paths, runs)
    manifests = [manifest for _, _, manifest in runs]
    equal, sentence = _verdict(records, step, rows, fixed, kept, manifests)
    return Diff(
        runs=paths,
        facts=(*facts_differing(one.facts, other.facts), *ranks_of(*paths), *drifts_of(*manifests)),
        step=step,
        rows=tuple(rows),
        fixed=tuple(fixed),
        states=kept.states,
        chain=kept.chain,
        growth=() if step is None else tuple(z_growth(records)),
        reach=(_reach(manifests[0]), _reach(manifests[1])),
        only=tuple(records.only()),
        opened=one.opened + other.opened,
        equal=equal,
        verdict=sentence,
    )


def _verdict(
    records: RecordPair,
    step: int | None,
    rows: list[RowDifference],
    fixed: list[RowDifference],
    kept: Checkpoints,
    manifests: list[Manifest],
) -> tuple[bool, str]:
    """Is everything that both recorded the same, and the sentence that says so or what is the first that is not."""
    state = next((state for state in kept.states if state.differs), None)
    # A checkpoint is the state before its step's batch: behind that step's inputs, before all that is made of them.
    if state is not None and (
        step is None or state.step < step or (state.step == step and rows[0].cause > Cause.INPUTS)
    ):
        return False, verdict.of_state(state, records)
    if step is not None:
        return False, verdict.of_row(rows[0], step, records, kept.states)
    if kept.chain is not None:
        place = f"step {kept.chain}, the chain of inputs that the checkpoint carries"
        return False, f"first difference: {place}; {verdict.MEANINGS[Cause.PAST]}"
    if fixed:
        return False, f"first difference: {fixed[0].name}, {fixed[0].size}; the panels are others, no step differs"
    if not records.pairs() and not kept.states:
        return False, "nothing to compare: there is no record and no checkpoint that both have"
    reach = [
        f"{letter} to step {_reach(manifest)}{'' if manifest.finished else ', unfinished'}"
        for letter, manifest in zip("AB", manifests, strict=True)
    ]
    arms = "" if kept.states or any(owner != "shared" for _, owner in records.pairs()) else "; no arm is in both"
    return True, f"equal: all that both recorded is the same, byte for byte ({'; '.join(reach)}){arms}"


def _reach(manifest: Manifest) -> int | None:
    """The last step of the records; of a run that has none, of the checkpoints."""
    ends = {kind: [entry.last for entry in manifest.entries if entry.kind == kind] for kind in ("shard", "checkpoint")}
    return max(ends["shard"] or ends["checkpoint"], default=None)
