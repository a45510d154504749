"""Kernels on the device: precision, repeatability, and equality with the CPU's."""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from helpers import tables
from parts import check, part

from coupled import runtime, views
from coupled.address import Purpose
from coupled.config import from_tables
from coupled.data import ArraySplit, Split
from coupled.inputs.dataset import load_split
from coupled.inputs.held import Held
from coupled.inputs.source import Batch, Source, Stream
from coupled.models.batchnorm import BatchNorm
from coupled.objectives.losses import batch_loss
from coupled.objectives.masks import pair_masks, similarity
from coupled.objectives.registry import Objective
from coupled.views import operators
from coupled.views.blur import blurs_of, gaussian_blur

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
runtime.configure(from_tables(tables(train={"device": DEVICE.type})))


def error_of(value: torch.Tensor, exact: torch.Tensor) -> float:
    """‖value − exact‖ / ‖exact‖ in float64."""
    return float((value.double().cpu() - exact.double().cpu()).norm() / exact.double().cpu().norm())


@part(gpu=False)
def versions() -> str:
    facts = {"torch": torch.__version__, "cuda": torch.version.cuda, **runtime.machine(DEVICE)}
    if DEVICE.type == "cuda":
        facts["memory"] = f"{torch.cuda.get_device_properties(0).total_memory >> 20} MiB"
    facts |= {name: value for name, value in os.environ.items() if name.startswith(("CUBLAS_", "NVIDIA_TF32", "CUDNN"))}
    shown = ", ".join(f"{name} {value}" for name, value in facts.items())
    check(tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 11), f"torch 2.11 or later is needed: {shown}")
    return shown


@part(gpu=False)
def products_and_convolutions_are_not_in_tf32() -> str:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(512, 512, generator=generator) for _ in range(2))
    x, w = torch.randn(32, 64, 16, 16, generator=generator), torch.randn(64, 64, 3, 3, generator=generator)
    product = error_of(a.to(DEVICE) @ b.to(DEVICE), a.double() @ b.double())
    exact = torch.nn.functional.conv2d(x.double(), w.double(), padding=1)
    convolution = error_of(torch.nn.functional.conv2d(x.to(DEVICE), w.to(DEVICE), padding=1), exact)
    check(product < 2e-6 and convolution < 2e-6, f"product {product:.1e}, convolution {convolution:.1e}")
    return f"relative errors: product {product:.1e}, convolution {convolution:.1e}"


@part(gpu=False)
def integers_and_addresses_are_those_of_the_cpu() -> str:
    from coupled.address import words

    here = words(7, Purpose.VIEW, 8, a=torch.arange(100, device=DEVICE), b=3)
    check(bool((here.cpu() == words(7, Purpose.VIEW, 8, a=torch.arange(100), b=3)).all()), "Philox differs")
    return "Philox: equal"


@part(gpu=False)
def views_of_every_recipe_have_the_bytes_of_the_cpu_operators() -> str:
    generator = torch.Generator().manual_seed(0)
    lines, worst_of_all = [], 0.0
    for name in views.RECIPES:
        for side, size in ((32, 32), (200, 224)):
            recipe = views.recipe(name, size)
            images = torch.randint(0, 256, (24, 3, side, side), generator=generator, dtype=torch.uint8)
            draws = views.view_words(
                1, Purpose.VIEW, torch.arange(24), torch.zeros(24, dtype=torch.int64), torch.tensor([[0], [1]])
            )
            table = views.draw(recipe, draws.flatten(0, 1), side, side)
            crop = [operators.crop_resize(images.to(device), table, size) for device in ("cpu", DEVICE)]
            colour = [operators.recolour(crop[0].to(device), operators.rounds_of(table)) for device in ("cpu", DEVICE)]
            blur = [gaussian_blur(colour[0].clone().to(device), blurs_of(table)) for device in ("cpu", DEVICE)]
            whole = [
                views.apply(images.to(device), table, size=size, mean=(0.5,) * 3, std=(0.25,) * 3)
                for device in ("cpu", DEVICE)
            ]
            worst = {
                act: float((cpu - gpu.cpu()).abs().max())
                for act, (cpu, gpu) in {"crop": crop, "colour": colour, "blur": blur, "whole": whole}.items()
                if cpu.numpy().tobytes() != gpu.cpu().numpy().tobytes()
            }
            worst_of_all = max(worst_of_all, *worst.values(), 0.0)
            if worst:
                lines.append(f"{name} {size} px: " + " ".join(f"{act} {value:.1e}" for act, value in worst.items()))
    check(not lines, f"other bytes, largest difference {worst_of_all:.1e}: " + "; ".join(lines))
    return f"{len(views.RECIPES)} recipes at 32 and 224 px: equal bytes"


SEEING = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "other": {"kind": "other-inputs"},
}
STEPS = 6
SHOWN = [(32, {"size": 32}), (64, {"size": 64, "recipe": "simclr-imagenet"}), (200, {"size": 96})]


@contextmanager
def device_of(memory: int | None) -> Iterator[None]:
    """The GPU is taken for one of so many bytes (None: for what it is)."""
    whole = runtime.device_memory
    if memory is not None:
        runtime.device_memory = lambda config: memory if config.train.device == "cuda" else None
    try:
        yield
    finally:
        runtime.device_memory = whole


def source_of(split: Split | None, kind: str, labelling: str, **sections: object) -> Source:
    """Batches of 32, of images in memory or those of the config."""
    given = {"batches": {"size": 32}, "train": {"device": kind, "steps": STEPS}, "arms": SEEING, **sections}
    config = from_tables(tables(**given))
    return Source(config, split or load_split(config, "train"), [labelling], torch.device(kind))


def array_split(side: int) -> ArraySplit:
    images = torch.randint(0, 256, (128, 3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return ArraySplit(images, {"size": torch.arange(128) % 3})


def tensors_of(batch: Batch) -> list[str]:
    """Digests of pixels, integers and masks, of every kind of input."""
    integers, digests = batch.integers(), []
    for inputs, of in {None: batch, **batch.others}.items():
        masks = [(m.others, m.different, m.same, m.kept, m.labels) for m in of.pairs.values()]
        digests += [bytes_of(tensor) for tensor in (of.pixels, *integers[inputs], *sum(masks, ()))]
    return digests


def stream_of(source: Source) -> list[list[str]]:
    with closing(Stream(source, STEPS)) as stream:
        return [tensors_of(stream.at(step)) for step in range(STEPS)]


@part()
def batches_held_staged_and_of_the_cpu_have_equal_bytes() -> str:
    wrong = []
    for side, shown in SHOWN:
        split = array_split(side)
        cpu = source_of(split, "cpu", "size", views=shown)
        expected = [tensors_of(cpu.at(step)) for step in range(STEPS)]
        for memory in (None, 1):
            with device_of(memory):
                source = source_of(split, "cuda", "size", views=shown)
            check(isinstance(source._images, Held) is (memory is None), "the images are not where they should be")
            alone = [tensors_of(source.at(step)) for step in range(STEPS)]
            for way, digests in (("alone", alone), ("stream", stream_of(source))):
                if digests != expected:
                    wrong.append(f"{side} px, {'held' if memory is None else 'staged'}, {way}")
    check(not wrong, "other bytes: " + "; ".join(wrong))
    return f"{len(SHOWN)} sizes of images, held and staged, alone and ahead: equal bytes"


@part(needs=("PIL",))
def batches_of_folders_have_the_bytes_of_the_cpu() -> str:
    from drawn_pictures import image_folder

    with tempfile.TemporaryDirectory() as folder:
        root = image_folder(Path(folder), count=64)
        for workers in (0, 2):
            data = {"name": "image-folder", "labelling": "class", "workers": workers}
            sections = {"data": data, "paths": {"data": str(root)}, "views": {"size": 48, "recipe": "simclr-imagenet"}}
            cpu, gpu = (source_of(None, kind, "class", **sections) for kind in ("cpu", "cuda"))
            expected = [tensors_of(cpu.at(step)) for step in range(STEPS)]
            check(stream_of(gpu) == expected, f"other bytes with {workers} workers")
    return "0 and 2 workers: equal bytes"


@part()
def no_copy_of_a_batch_is_from_ordinary_memory() -> str:
    shown = []
    for memory in (None, 1):
        with device_of(memory):
            source = source_of(array_split(64), "cuda", "size", views=SHOWN[1][1])
        source.at(0)
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            source.at(1)
            torch.cuda.synchronize()
        copies = Counter(event.name for event in profile.events() if "Memcpy HtoD" in event.name)
        pinned, kinds = copies["Memcpy HtoD (Pinned -> Device)"], len(source.draws)
        check(set(copies) == {"Memcpy HtoD (Pinned -> Device)"} and pinned == 4 * kinds, f"{dict(copies)}")
        shown.append(f"{'held' if memory is None else 'staged'} {pinned}")
    return f"pinned copies of {kinds} kinds of input: {', '.join(shown)}"


@part(gpu=False)
def objectives_are_those_of_float64() -> str:
    generator, worst = torch.Generator().manual_seed(0), 0.0
    z = torch.nn.functional.normalize(torch.randn(256, 32, generator=generator), dim=1)
    labels = torch.randint(0, 10, (128,), generator=generator)
    for name in ("dcl", "nscl", "scl", "nt_xent"):
        for inside in (False, True):
            objective, values = Objective(name, inside), []
            for device, dtype in ((torch.device("cpu"), torch.float64), (DEVICE, torch.float32)):
                own = z.to(device, dtype, copy=True).requires_grad_()
                batch_loss(objective, similarity(own), pair_masks(labels.to(device)), 0.1).backward()
                values.append(own.grad)
            worst = max(worst, error_of(values[1], values[0]))
    check(worst < 1e-5, f"gradient off by {worst:.1e}")
    return f"largest relative error of a gradient {worst:.1e}"


def _norm_errors(shape: tuple[int, ...], offset: float, last: bool, dtype: torch.dtype) -> dict[str, float]:
    generator = torch.Generator().manual_seed(1)
    x, g = torch.randn(*shape, generator=generator) + offset, torch.randn(*shape, generator=generator)
    x, g = x.to(dtype), g.to(dtype)
    results = []
    for device, kind in ((torch.device("cpu"), torch.float64), (DEVICE, dtype)):
        norm = BatchNorm(shape[1]).to(device)
        with torch.no_grad():
            norm.weight.fill_(1.5), norm.bias.fill_(0.25), norm.running_mean.zero_(), norm.running_var.fill_(1)
        if kind == torch.float64:
            norm.double()
        own = x.to(device, kind)
        own = (own.contiguous(memory_format=torch.channels_last) if last and own.ndim == 4 else own).requires_grad_()
        y = norm.train()(own)
        y.backward(g.to(device, kind))
        norm.absorb()
        results.append({"y": y.detach(), "dx": own.grad, "dw": norm.weight.grad, "var": norm.running_var})
        results[-1] |= {"mean": norm.running_mean}
    return {name: error_of(results[1][name], results[0][name]) for name in results[0]}


@part(gpu=False)
def batch_norm_is_that_of_float64() -> tuple[str, str]:
    lines, worst = [], 0.0
    for shape in ((64, 32, 16, 16), (256, 512, 4, 4), (512, 128)):
        for last in (False, True) if len(shape) == 4 else (False,):
            for offset in (0.0, 2.0, 100.0, 1e4):
                errors = _norm_errors(shape, offset, last, torch.float32)
                lines.append(f"{shape!s:20} {'last' if last else 'first':5} offset {offset:7g} " + _shown(errors))
                if offset <= 2:
                    worst = max(worst, errors["y"], errors["dx"], errors["dw"], errors["var"])
    table = "batch-norm float32 against float64\n" + "\n".join(lines)
    check(worst < 1e-6, f"error {worst:.1e} at offsets 0 and 2\n{table}")
    return f"largest error at offsets 0 and 2: {worst:.1e}", table


def bytes_of(tensor: torch.Tensor) -> str:
    """A digest of a tensor's bytes."""
    plain = tensor.detach().contiguous().view(torch.uint8).cpu()
    return hashlib.sha256(plain.numpy().tobytes()).hexdigest()


def _shown(errors: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.1e}" for name, value in errors.items())


@part()
def batch_norm_kernels_repeat_their_bytes() -> str:
    generator = torch.Generator(DEVICE).manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        for last in (False, True):
            x, g = (torch.randn(512, 256, 16, 16, device=DEVICE, generator=generator, dtype=dtype) for _ in range(2))
            if last:
                x, g = (t.contiguous(memory_format=torch.channels_last) for t in (x, g))
            seen: set[tuple[str, ...]] = set()
            for _ in range(5):
                norm = BatchNorm(256).to(DEVICE)
                with torch.no_grad():
                    norm.weight.fill_(1.5), norm.bias.fill_(0.25)
                own = x.clone().requires_grad_()
                y = norm.train()(own)
                y.backward(g)
                seen.add(tuple(bytes_of(t) for t in (y.detach(), own.grad)))
            check(len(seen) == 1, f"{dtype}, channels_last {last}: {len(seen)} results of 5")
    return "equal in float32 and bfloat16, both layouts"


@part(gpu=False)
def one_step_twice_has_equal_bytes() -> str:
    from coupled.driver.assembly import build
    from coupled.driver.preflight import repeats_its_bytes

    shown = []
    for encoder, more in (
        ("resnet-small", {"width": 8}),
        ("resnet18", {"width": 16}),
        ("resnet50", {"width": 8}),
        ("vit", {"width": 24, "depth": 2, "heads": 2}),
    ):
        for changed in ({}, {"precision": "bf16", "memory_format": "channels_last", "views_forward": "separate"}):
            for optimiser in ({"name": "lars", "learning_rate": 0.1}, {"name": "adamw", "learning_rate": 0.001}):
                config = from_tables(
                    tables(
                        batches={"size": 32},
                        views={"size": 32},
                        model={"encoder": encoder, **more},
                        optimiser={**optimiser, "clip_norm": 1.0},
                        train={"device": DEVICE.type, **changed},
                        arms={"cl": {"objective": "dcl"}, "ce": {"objective": "ce"}},
                    )
                )
                try:
                    repeats_its_bytes(build(replace(config, name="twice")))
                except ModuleNotFoundError:
                    raise
                except Exception as error:
                    shown.append(f"{encoder} {changed.get('precision', 'float32')}: {str(error)[:110]}")
    check(not shown, "; ".join(dict.fromkeys(shown)))
    return "four encoders, float32 and bf16"
