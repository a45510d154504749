"""Rules that join fields, and defaults that depend on others. No file is read but a user's own code and the listing of
an image folder: sizes are registry constants.
"""

import dataclasses
import re
from dataclasses import replace
from typing import Any

import torch

from coupled import data
from coupled.config.arms import resolve_arms
from coupled.config.ledger import check_ledger
from coupled.config.own_encoders import check_defaults
from coupled.config.own_streams import resolve_own
from coupled.config.precision import check_precision
from coupled.config.resolved import AdamW, Config, Lars, Model, Optimiser, Sgd, Views, filled
from coupled.config.schema import Code, Panel, Train, Written
from coupled.config.user_code import execute
from coupled.data import DataInfo
from coupled.errors import UserError, unknown
from coupled.models import check_model, defaults, names
from coupled.models.foreign import is_built_in, is_here, outlined
from coupled.models.outline import narrow_pointwise
from coupled.views import RECIPES

_OPTIMISERS: dict[str, type[Optimiser]] = {"sgd": Sgd, "lars": Lars, "adamw": AdamW}
# Fields of [optimiser] that only some optimisers have, with their defaults.
_OWN_FIELDS = {
    "sgd": {"momentum": 0.9},
    "lars": {"momentum": 0.9, "trust": 1e-3},
    "adamw": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
}
REFERENCE_BATCH = 256  # what learning_rate is for, where a scaling is asked for and nobody says
# Found with torch 2.14.1 on AVX2: the backward of a strided 1×1 convolution of channels_last inputs with fewer than 8
# channels corrupts the heap.
SAFE_WIDTH = 8


def resolve(written: Written, *, elsewhere: bool = False, begun: bool = False) -> Config:
    """The config with every default filled in; raises UserError where fields do not fit each other.

    `elsewhere`: the config was resolved before, of a run that may have used code or folders that are not here. No code
    is run, and what only they could tell is not checked. `begun`: the config is that of a run, which goes on as it
    began: earlier versions took numbers that the precision rounds away.
    """
    written = replace(written, code=_code(written.code, elsewhere), train=_on_a_device(written.train, elsewhere))
    if written.views.recipe not in RECIPES:
        raise unknown("views.recipe", written.views.recipe, RECIPES)
    # Without code or library an encoder is what a resolved config says of it.
    described = elsewhere and not is_built_in(written.model.encoder)
    if not (described or is_here(written.model.encoder)):
        raise unknown("model.encoder", written.model.encoder, [*names(), "timm:NAME"])
    if not described:
        check_defaults(written.model.encoder)
    check_name(written.name)
    if written.model.dropout:
        raise UserError(
            f"model.dropout = {written.model.dropout:g}",
            "only 0: masks would be randomness that arms do not share",
            "remove it",
        )
    known = not elsewhere or written.data.name in data.DATASETS
    info = data.info(written.data.name, written.paths.data) if known else None
    written = _resolve_data(written, info)
    size = written.views.size
    if size is None:
        raise UserError("views.size is missing", "a resolved config names it")
    check_model(written.model, size)
    arms = resolve_arms(written, None if info is None else info.classes, elsewhere=elsewhere)
    record = written.record
    config = filled(
        Config,
        written,
        record=replace(record, own=resolve_own(record.own, arms, record.panel, elsewhere=elsewhere)),
        views=filled(Views, written.views, size=size),
        model=filled(Model, written.model, **(_described(written) if described else defaults(written.model, size))),
        optimiser=_optimiser(written),
        arms=arms,
    )
    _check_train(config)
    check_ledger(config)
    if not (elsewhere or begun):
        check_precision(config)
    _check_ranks(config)
    return config


def _described(written: Written) -> dict[str, Any]:
    """What has to be there of an encoder that is not, or may not be, here. UserError where it is not."""
    model = written.model
    if model.feature_size is None or not model.tensors:
        raise UserError(f"model.encoder = {model.encoder}", "a resolved config says its feature_size and tensors")
    outlined(model)
    return {"projection_hidden": model.projection_hidden or model.feature_size}


def _code(code: Code, elsewhere: bool) -> Code:
    if elsewhere:
        return code
    digests = execute(code.files)
    if code.sha256 and code.sha256 != digests:
        raise UserError(
            f"code.sha256 = {', '.join(s[:12] for s in code.sha256)}",
            f"the files have {', '.join(s[:12] for s in digests) or 'none: code.files is empty'}",
            "restore the files, or remove code.sha256",
        )
    return replace(code, sha256=digests)


def _on_a_device(train: Train, elsewhere: bool) -> Train:
    """`auto` becomes the device that is here, before the digest: what a run is does not depend on who reads it."""
    if train.device != "auto":
        return train
    if elsewhere:
        raise UserError("train.device = auto", "a run's own config names the device that it has been trained on")
    return replace(train, device="cuda" if torch.cuda.is_available() else "cpu")


def check_name(name: str) -> None:
    """UserError for what cannot name a run directory."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
        raise UserError(
            f"name = {name!a}",
            "at most 128 letters, digits, '.', '_' and '-', as it names the run directory",
            "set name",
        )


def _resolve_data(written: Written, info: DataInfo | None) -> Written:
    """Labellings, seed and image size; batches and panels against the data set's size."""
    given, balanced = written.data, written.batches.stream == "balanced"
    _unused(given.balance_by, balanced, "data.balance_by", "batches.stream = balanced")
    if info is None:
        return written
    _unused(given.seed, info.procedural, "data.seed", "a procedural data set")
    _unused(given.workers or None, not info.in_memory, "data.workers", "image folders")
    if given.listing is not None and given.listing != info.listing:
        raise UserError(
            f"data.listing = {given.listing[:12]}",
            f"the folders' is {info.listing[:12] or 'none: only image-folder and hugging-face have one'}",
            "restore the files, or remove data.listing",
        )
    labelling = given.labelling or info.default_labelling or None
    balance_by = given.balance_by or labelling
    for name, key in ((labelling, "data.labelling"), (balance_by, "data.balance_by")):
        if name is not None and name not in info.classes:
            raise unknown(key, name, info.classes)
    if balanced and balance_by is None:
        raise UserError("batches.stream = balanced", f"{written.data.name} has no labels", "use uniform")
    section = replace(
        given,
        labelling=labelling,
        balance_by=balance_by if balanced else None,
        seed=(given.seed or 0) if info.procedural else None,
        listing=info.listing or None,
    )
    written = replace(written, data=section, views=replace(written.views, size=written.views.size or info.size))
    _check_sizes(written, subset_of(written, info))
    return written


def subset_of(config: Written, info: DataInfo) -> DataInfo:
    """What is left of a data set by the classes, per_class and imbalance of a config."""
    given = config.data
    if not given.classes and given.per_class is None and given.imbalance is None:
        return info
    if given.labelling is None:
        raise UserError("data.classes, per_class or imbalance", f"{given.name} has no labels", "remove them")
    return data.subset_info(
        info,
        labelling=given.labelling,
        classes=given.classes or None,
        per_class=given.per_class,
        imbalance=given.imbalance,
        seed=given.seed,
    )


def _check_sizes(config: Written, info: DataInfo) -> None:
    for value, most, key, images in (
        (config.batches.size, info.train_size, "batches.size", "training images"),
        (config.panel.size, info.test_size, "panel.size", "test images"),
        (config.panel.surrogate_size, info.train_size, "panel.surrogate_size", "training images"),
    ):
        if value > most:
            raise UserError(f"{key} = {value}", f"at most {most}, the {images} of {config.data.name}")
    counts = info.train_counts.get(config.data.balance_by or "", ())
    # What a class needs of `inputs.order.Balanced`: two batches' worth.
    needed = 2 * -(-config.batches.size // max(len(counts), 1))
    if counts and min(counts) < needed:
        raise UserError(
            f"batches.size = {config.batches.size} balanced over {len(counts)} classes",
            f"every class needs {needed} images, the smallest has {min(counts)}",
            "lower batches.size or use batches.stream = uniform",
        )


def _optimiser(written: Written) -> Optimiser:
    given = written.optimiser
    own = _OWN_FIELDS[given.name]
    for field in dict.fromkeys(field for fields in _OWN_FIELDS.values() for field in fields):
        takers = " or ".join(name for name, fields in _OWN_FIELDS.items() if field in fields)
        _unused(getattr(given, field), field in own, f"optimiser.{field}", f"optimiser.name = {takers}")
    scaled = given.scaling != "constant"
    _unused(given.reference_batch, scaled, "optimiser.reference_batch", "optimiser.scaling = linear, sqrt, fourth-root")
    _unused(given.horizon, given.schedule == "cosine", "optimiser.horizon", "schedule = cosine")
    defaults_used = {field: default for field, default in own.items() if getattr(given, field) is None}
    return filled(
        _OPTIMISERS[given.name],
        given,
        horizon=_horizon(written),
        reference_batch=(given.reference_batch or REFERENCE_BATCH) if scaled else None,
        **defaults_used,
    )


def _horizon(written: Written) -> int | None:
    optimiser, steps = written.optimiser, written.train.steps
    if optimiser.schedule == "constant":
        return None
    horizon = optimiser.horizon or max(steps, 1)
    if horizon < steps:
        raise UserError(f"optimiser.horizon = {horizon}", f"at least train.steps = {steps}", "raise it or train less")
    if optimiser.warmup > horizon:
        raise UserError(f"optimiser.warmup = {optimiser.warmup}", f"at most the horizon, {horizon}", "lower it")
    return horizon


def _check_ranks(config: Config) -> None:
    groups, arms = config.ranks.arms or 1, len(config.arms)
    if groups > arms:
        raise UserError(
            f"ranks.arms = {groups}", f"at most {arms}, as many as there are arms", "split batches too, with ranks.data"
        )
    check_parts(config, config.ranks.data or 1)


def check_parts(config: Config, parts: int) -> None:
    """UserError where a batch cannot be split so."""
    size = config.batches.size
    if size % parts:
        near = [n for n in range(1, size + 1) if size % n == 0 and n <= 2 * parts]
        raise UserError(
            f"batches.size = {size} on {parts} data ranks",
            "every data rank takes an equal part of the batch",
            f"use {' or '.join(map(str, near[-3:]))} of them, or another batch size",
        )
    if parts > 1 and config.train.compile:
        raise UserError(
            f"train.compile with {parts} data ranks",
            "batch-norm's sums over ranks are not compiled",
            "leave train.compile out, or place arms only (ranks.data = 1)",
        )


def _check_train(config: Config) -> None:
    train = config.train
    _unused(train.tf32 or None, train.device == "cuda", "train.tf32", "train.device = cuda")
    _unused(train.tf32 or None, train.precision == "float32", "train.tf32", "train.precision = float32")
    if (train.memory_format, train.device) == ("channels_last", "cpu") and (narrow := too_narrow(config.model)):
        raise UserError(
            f"{narrow} with train.memory_format = channels_last",
            f"at least {SAFE_WIDTH} on a CPU: torch's kernels write outside their memory below it",
            "use contiguous",
        )
    for stream in (field for field in dataclasses.fields(config.record) if field.name != "own"):
        last = getattr(config.record, stream.name).last or None
        _unused(
            last,
            stream.metadata["states"],
            f"record.{stream.name}.last",
            "streams of states: the last one has no batch",
        )
    _unused(config.panel.stages or None, _records(config, "panel"), "panel.stages", "a schedule in record.panel")
    if not is_built_in(config.model.encoder):
        _check_foreign(config)
    watched = config.panel.flips_size if config.panel.flips_size != Panel().flips_size else None
    _unused(watched, _records(config, "flips"), "panel.flips_size", "a schedule in record.flips")


def too_narrow(model: Model) -> str:
    """What of a network is too narrow for torch's kernels of channels_last on a CPU; "" where nothing is."""
    if is_built_in(model.encoder):
        assert model.width is not None
        return f"model.width = {model.width}" if model.width < SAFE_WIDTH else ""
    name = narrow_pointwise(model.tensors, SAFE_WIDTH)
    return f"the input channels of {model.encoder}'s {name}" if name else ""


def _check_foreign(config: Config) -> None:
    """What encoders that are not built in may lack."""
    name = config.model.encoder
    if config.panel.stages and not config.model.stage_sizes:
        raise UserError("panel.stages = true", f"{name} gives no stage features", "remove it")
    if _records(config, "flips"):
        raise UserError(
            "a schedule in record.flips", f"{name} is not built in: its activations are not watched", "remove it"
        )


def _records(config: Config, stream: str) -> bool:
    schedule = getattr(config.record, stream)
    return bool(schedule.every or schedule.log or schedule.steps or schedule.last)


def _unused(value: object, used: bool, key: str, condition: str) -> None:
    """A field that would change nothing is a mistake, not a decoration."""
    if value is not None and not used:
        shown = str(value).lower() if isinstance(value, bool) else value
        raise UserError(f"{key} = {shown}", f"it only counts with {condition}", "remove it")
