"""What can be proven of imported checkpoints, and what never can: nothing of their training is on record."""

from collections.abc import Mapping

import numpy as np

from coupled.config import Config
from coupled.reading.checkpoints import checkpoints_of, open_arm, state_dict
from coupled.reading.imported import Imported
from coupled.reading.records import Records
from coupled.store import Faults, Saved, StoreError, read_saved
from coupled.store.rundir import STATE
from coupled.terminal.counting import Progress
from coupled.verification.rebuilt import Findings, listed


def check_checkpoints(records: Records, content: Imported, progress: Progress, faults: Faults) -> Findings:
    """Every checkpoint holds the weights and running statistics of the config's network, of every arm, and no more."""
    path, config = records.path, records.config
    entries, start = checkpoints_of(path, records.manifest), Findings()
    for number, (step, entry) in enumerate(entries.items(), 1):
        states: dict[str, Mapping[str, np.ndarray]] = {}
        with faults.noted():
            saved = read_saved(path, entry)
            if saved.files.keys() != {f"{arm}.safetensors" for arm in config.arms}:
                raise StoreError(path / saved.folder / STATE, "does not list one file for every arm")
            for arm in config.arms:
                with faults.noted():
                    states[arm] = _states_of(records, saved, arm)
        if content.epoch_of(step) == 0 and states.keys() == config.arms.keys():
            start = _of_start(config, states)
        progress("checkpoints", number, len(entries))
    steps = listed(list(entries))
    whole = (
        f"whole: {len(entries)} checkpoints ({content.unit} {steps}) hold the weights and running statistics of "
        f"{len(config.arms)} arms, as the config's network has them"
    )
    begun = start if start != Findings() else Findings(unproven=["one start: no file of epoch 0 was imported"])
    return Findings([whole, *begun.proven], [*begun.unproven, *_NEVER])


def _states_of(records: Records, saved: Saved, arm: str) -> Mapping[str, np.ndarray]:
    """The weights and running statistics of an arm; StoreError for a file that has others, or more."""
    file = open_arm(records.path, saved, arm, records.fingerprint)
    states = state_dict(records.config, arm, file)
    if len(file) != len(states) or any(array.dtype != np.float32 for array in states.values()):
        raise StoreError(file.path, "it holds more than weights and running statistics in float32")
    return states


_NEVER = (
    "sources: where the files came from; run.json has their names, sizes and SHA-256, to compare with",
    "training: that each arm was trained by the objective that its name says, and on which images, no checkpoint tells",
    "one input: that the arms saw the same batches and views can never be shown: no ids, draws or rates were recorded",
)


def _of_start(config: Config, states: Mapping[str, Mapping[str, np.ndarray]]) -> Findings:
    """Whether all arms have the first one's weights and statistics, byte for byte, where both have them."""
    first, *others = config.arms
    for arm in others:
        for name, array in states[first].items():
            if name in states[arm] and states[arm][name].tobytes() != array.tobytes():
                return Findings(unproven=[f"one start: at epoch 0 {arm} is not {first}: {name} differs"])
    return Findings([f"one start: at epoch 0 all {len(config.arms)} arms are the same, byte for byte"])
