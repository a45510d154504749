"""Runs whose checkpoints come from elsewhere: what run.json says of them, checked before it is believed.

Such a run has checkpoints of weights and running statistics, and nothing else: no record, no optimiser state.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from coupled.config import Config, Schedule
from coupled.config.formats import FORMAT, IMPORTED
from coupled.data.decode import resized_side
from coupled.errors import UserError
from coupled.recording.layout import STREAMS
from coupled.store import REAL, StoreError
from coupled.store.canonical import strict_json
from coupled.store.rundir import MAX_RUN_JSON, RUN_JSON

Unit = Literal["steps", "epochs"]
# Fields of the config that no checkpoint tells; they have values that are nobody's. `batches.size` is one more where
# the batch size was not given.
PLACEHOLDERS: Final = (
    "batches.stream", "optimiser", "seed", "train.precision", "train.temperature", "train.views_forward",
    "views.recipe",
)  # fmt: skip
NORMALISATION: Final = "three numbers each, mean from 0 to 1, std above 0 and at most 1"
NOTHING_PROMISED: Final = "none: the checkpoints come from elsewhere"
FORM: Final = re.compile(r"(snapshot|epoch)_(\d{1,7})\.pth")  # the names that the papers' code gives to its files


@dataclass(frozen=True)
class Source:
    """The file that one arm's checkpoint at `step` was read from: its own number, its name, bytes and SHA-256 (hex)."""

    arm: str
    epoch: int
    step: int
    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Imported:
    """What is known of imported checkpoints beside the config.

    unit: what the run counts as steps. batch: the batch size B, where steps are epoch·⌊N/B⌋; None where steps are
    epochs. mean, std: what the networks' images were normalised by, in [0, 1] and (0, 1]. resize, crop: the side
    to which an image file's short side is resized for evaluation, and that of the centre which is cut out, in pixels.
    placeholders: the fields of the config that are not known. sources: by step, then in the order of arms.
    """

    unit: Unit
    batch: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int
    crop: int
    placeholders: tuple[str, ...]
    sources: tuple[Source, ...]

    def epoch_of(self, step: int) -> int:
        """The number in the names of the files that the checkpoints at `step` were read from."""
        return next(source.epoch for source in self.sources if source.step == step)

    def knows(self, field: str) -> bool:
        """Is a field of the config, by its dotted name, known of these checkpoints?"""
        return not any(field == name or field.startswith(f"{name}.") for name in self.placeholders)

    def content(self) -> dict[str, Any]:
        """What run.json holds under `imported`."""
        return asdict(self)


def placeholders(batch: int | None) -> tuple[str, ...]:
    """The fields of the config that are not known where the batch size is `batch`."""
    return (*PLACEHOLDERS, "batches.size") if batch is None else PLACEHOLDERS


def is_normalisation(mean: Sequence[float], std: Sequence[float]) -> bool:
    """Can images with values in [0, 1] be normalised by these? NaN never can."""
    return all(0 <= value <= 1 for value in mean) and all(0 < value <= 1 for value in std)


def imported(facts: Mapping[str, Any]) -> Imported | None:
    """What a run.json that was checked says of imported checkpoints; None of a run that was trained."""
    if IMPORTED not in facts:
        return None
    part = facts[IMPORTED]
    lists = {name: tuple(part[name]) for name in ("mean", "std", "placeholders")}
    sources = tuple(Source(**source) for source in part["sources"])
    return Imported(**{**part, **lists, "sources": sources})


def check_imported(path: Path, facts: Mapping[str, Any], config: Config) -> None:
    """StoreError unless what the run.json at `path` says of imported checkpoints, if it does, is whole and fits."""
    if IMPORTED not in facts:
        return
    fault = "" if facts["schema"] == FORMAT else f"no run of format {facts['schema']} has it"
    fault = fault or _fault_of_parts(facts[IMPORTED]) or _fault_of_config(config)
    if not fault:
        content = imported(facts)
        assert content is not None
        fault = _fault_of_values(content, config) or _fault_of_sources(content, config)
    if fault:
        raise StoreError(path, f"its {IMPORTED} is not that of imported checkpoints: {fault}")


def refuse_imported(path: Path) -> None:
    """UserError if the run at `path`, as it is, has imported checkpoints; anything else about it is told later."""
    try:
        facts = strict_json(REAL.read(path / RUN_JSON, MAX_RUN_JSON))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(facts, dict) and IMPORTED in facts:
        raise UserError(
            f"{path} holds imported checkpoints",
            f"they have no optimiser state to train on with, and no records ({', '.join(STREAMS)})",
            "train a config under another name",
        )


def _fault_of_parts(part: Any) -> str:
    """What is wrong with the kinds of its values; "" if nothing is."""
    if not isinstance(part, dict) or part.keys() != {field.name for field in fields(Imported)}:
        return f"it holds {', '.join(field.name for field in fields(Imported))} and nothing else"
    if part["unit"] not in get_args(Unit):
        return f"its unit is one of {', '.join(get_args(Unit))}"
    if not all(_are(part[name], float, 3) for name in ("mean", "std")):
        return "mean and std are three numbers each"
    if not all(type(part[name]) is int for name in ("resize", "crop")) or type(part["batch"]) not in (int, type(None)):
        return "resize, crop and batch are counts"
    if not _are(part["placeholders"], str):
        return "placeholders are names"
    if not isinstance(part["sources"], list) or not all(map(_is_source, part["sources"])):
        return f"a source holds {', '.join(field.name for field in fields(Source))} of a file"
    return ""


def _are(values: Any, kind: type, count: int | None = None) -> bool:
    return isinstance(values, list) and count in (None, len(values)) and all(type(value) is kind for value in values)


def _is_source(source: Any) -> bool:
    kinds = {"arm": str, "epoch": int, "step": int, "name": str, "size": int, "sha256": str}
    if not isinstance(source, dict) or {key: type(value) for key, value in source.items()} != kinds:
        return False
    named = FORM.fullmatch(source["name"])
    return (
        named is not None
        and named[2].isascii()
        and int(named[2]) == source["epoch"]
        and source["size"] > 0
        and re.fullmatch("[0-9a-f]{64}", source["sha256"]) is not None
    )


def _fault_of_config(config: Config) -> str:
    """Why no run of imported checkpoints has this config; "" if one may have."""
    if config.record.own or any(getattr(config.record, stream) != Schedule() for stream in STREAMS):
        return "its config has records"
    if config.checkpoints.recovery != Schedule():
        return "its config has checkpoints to resume from"
    if any(arm.kind != "objective" for arm in config.arms.values()):
        return "its config has controls"
    return "" if config.train.precision == "float32" else "its config is not of float32"


def _fault_of_values(content: Imported, config: Config) -> str:
    size = config.views.size
    if (content.unit == "steps") != (content.batch is not None):
        return "steps need a batch size, and epochs have none"
    if content.batch not in (None, config.batches.size):
        return f"its batch is {content.batch}, its config's {config.batches.size}"
    if not is_normalisation(content.mean, content.std):
        return f"mean and std are {NORMALISATION}"
    if (content.resize, content.crop) != (resized_side(size), size):
        return f"images of {size} px are resized to {resized_side(size)} and cut to {size}"
    return "" if content.placeholders == placeholders(content.batch) else "its placeholders are others"


def _fault_of_sources(content: Imported, config: Config) -> str:
    """Whether there is one file for every arm at every kept step, and steps follow from epochs."""
    epochs = {source.step: source.epoch for source in content.sources}
    steps, last = sorted(epochs), config.train.steps
    places = [(source.step, source.arm) for source in content.sources]
    if not steps or places != [(step, arm) for step in steps for arm in config.arms]:
        return "it has not one source for every arm at every step, in order"
    if any(epochs[source.step] != source.epoch for source in content.sources):
        return "the sources of a step are of other epochs"
    if config.checkpoints.keep != Schedule(steps=tuple(steps)) or steps[-1] != last:
        return "its sources are not those of checkpoints.keep"
    # All steps are one multiple of their epochs: 1 where the unit is the epoch.
    exact = content.unit == "steps" or steps == [epochs[step] for step in steps]
    if not exact or any(
        step * epochs[last] != last * epochs[step] or (step == 0) != (epochs[step] == 0) for step in steps
    ):
        return "its steps do not follow from its epochs"
    return ""
