"""A run's config on this machine: what can be drawn again here, and under which conditions the run was made."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from coupled import runtime
from coupled.arms.arm import Arm
from coupled.arms.initial import build_arms
from coupled.config import Config, from_resolved
from coupled.config.traits import Inputs, own_inputs
from coupled.data.splits import Split
from coupled.errors import UserError
from coupled.inputs.certificate import integers_digest, next_link
from coupled.inputs.dataset import data_info, load_split
from coupled.inputs.draws import Draws, Integers
from coupled.inputs.source import Source
from coupled.reading import environment
from coupled.reading.here import config_here
from coupled.reading.log import last_ranks
from coupled.recording.layout import SHARED, labellings
from coupled.store import Manifest
from coupled.theory.learning_rate import learning_rate
from coupled.verification.run_json import initial_weights


class Findings(NamedTuple):
    """What a check proves, and what it cannot, in words."""

    proven: Sequence[str] = ()
    unproven: Sequence[str] = ()


class Rebuilt:
    """The config of the run at `path`, its data set if that is here, and what the run drew from it.

    `data` says where the data set lies, `code` which files are its user's own code: no run directory holds them.
    `missing`: why the data set cannot be used; "" where it can. `lost`: it is not where it lay, or is another; `fits`:
    the code that was given is the run's.
    """

    def __init__(
        self, path: Path, facts: Mapping[str, Any], manifest: Manifest, data: str = "", code: Sequence[str] = ()
    ) -> None:
        self.path, self.facts, self.missing = path, facts, ""
        self.lost, self.fits = False, True
        self.initial_weights = initial_weights(facts)
        self.data_ranks = last_ranks(path)[1]
        self.splits: dict[str, Split] = {}
        try:
            self.config: Config = config_here(path, facts, data, code)
        except UserError as error:
            self.config, self.missing = from_resolved(facts["config"]), str(error)
            self.fits = not (code or self.config.code.sha256)
            self.lost = self.fits
        else:
            try:
                self.splits = {name: load_split(self.config, name) for name in ("train", "test")}
            except UserError as error:
                self.missing, self.lost = str(error), True
        # Pixels and floats compare on the kind of device that made them.
        self.device = torch.device(self.config.train.device if torch.cuda.is_available() else "cpu")
        # The environment from a step on, by step: that of run.json, then of every accepted drift.
        self._environments = {0: environment.environment(facts)}
        for entry in manifest.entries:
            if entry.kind == "drift":
                self._environments[entry.first] = environment.read_drift(path, entry)
        if others := [c for c in self.changes(0) if c.name.startswith("data.")]:
            self.missing = f"another is: {'; '.join(map(str, others))}"
            self.splits, self.lost = {}, True

    @cached_property
    def _now(self) -> dict[str, Any]:
        data = {name: split.fingerprint() for name, split in self.splits.items()}
        versions, machine = runtime.versions(self.config.model.encoder), runtime.machine(self.device)
        return environment.environment({"versions": versions, "machine": machine, "data": data})

    def changes(self, step: int) -> list[environment.Change]:
        """How this machine and its data differ from those that made `step`, in what may change bytes."""
        then = self._environments[max(start for start in self._environments if start <= step)]
        return environment.that_may_change_bytes(
            [c for c in environment.changes(then, self._now) if c.name in self._now]
        )

    def conditions(self, step: int) -> str:
        """The same in words; "" where nothing differs."""
        return "; ".join(map(str, self.changes(step)))

    @cached_property
    def source(self) -> Source | None:
        """The batches; None where the data set is not here, or is another."""
        return Source(self.config, self.splits["train"], labellings(self.config), self.device) if self.splits else None

    @cached_property
    def draws(self) -> Mapping[Inputs | None, Draws] | None:
        """The integers of every kind of input by step; None where they need labels that are not here."""
        if self.source is not None:
            return self.source.draws
        if self.config.batches.stream == "balanced":
            return None
        try:
            n = data_info(self.config).train_size
        except UserError:
            return None
        return {inputs: Draws(self.config, inputs, n, None) for inputs in (None, *own_inputs(self.config.arms))}

    def recorded_inputs(self) -> Iterator[tuple[Inputs | None, str]]:
        """Every kind of input with each owner that has it on record: `shared`, and arms that see others."""
        yield None, SHARED
        for inputs, arms in own_inputs(self.config.arms).items():
            yield from ((inputs, arm) for arm in arms)

    def drawn(self, step: int, inputs: Inputs | None) -> Integers:
        """The integers of a step's batch of a kind."""
        assert self.draws is not None
        return self.draws[inputs].at(step)

    def rate(self, step: int) -> float:
        """The learning rate of a step by its schedule."""
        return learning_rate(self.config.optimiser, step, self.config.batches.size)

    def link_after(self, link: bytes, step: int, inputs: Inputs | None) -> bytes:
        """The chain of a kind of input after a step that is drawn again."""
        ids, _, words = self.drawn(step, inputs)
        return next_link(link, integers_digest(ids), integers_digest(words), self.rate(step))

    @cached_property
    def arms(self) -> dict[str, Arm]:
        """All arms at their initial weights. UserError where the user's own code is not here."""
        return build_arms(self.config, self.device)

    def sampled(self, steps: np.ndarray, count: int, purpose: str) -> list[int]:
        """`count` (≥ 2) of these ascending steps: the first, the last, and one of each of `count` - 2 equal
        parts between them, chosen by the run's fingerprint, so that nobody has to say which.
        """
        assert count >= 2
        if len(steps) <= count:
            return [int(step) for step in steps]
        ends = np.linspace(1, len(steps) - 1, count - 1).round().astype(int).tolist()
        inner = []
        for part in range(count - 2):
            word = sha256(f"{self.facts['fingerprint']} {purpose} {part}".encode()).digest()
            inner.append(ends[part] + int.from_bytes(word[:8], "big") % (ends[part + 1] - ends[part]))
        return [int(steps[i]) for i in (0, *inner, len(steps) - 1)]


def listed(steps: Sequence[int]) -> str:
    """Steps on less than a line."""
    return ", ".join(map(str, steps)) if len(steps) <= 8 else f"{steps[0]} … {steps[-1]}"
