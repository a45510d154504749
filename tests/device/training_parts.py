"""Whole tiny runs on the device."""

import json
import tempfile
import warnings
from collections import Counter
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from helpers import spoil_gradient, tables
from parts import check, part

from coupled.config import from_tables
from coupled.driver.assembly import assemble
from coupled.driver.loop import advance, lockstep
from coupled.driver.reporter import Silent
from coupled.driver.train import resume, train
from coupled.errors import RunStopped
from coupled.recording.checkpoints import tensors
from coupled.store import open_tensors
from coupled.store.treehash import tree_hash

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "scl": {"objective": "scl"},
    "ce": {"objective": "ce"},
    "twin": {"kind": "twin"},
}
CONTROLS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "relabelled": {"kind": "placebo", "of": "nscl", "across": "run"},
    "anti": {"kind": "anti", "of": "nscl"},
    "late": {"kind": "nudged", "scale": 1e-4, "at": 3, "direction": "batch"},
    "matched": {"kind": "nudged", "scale": "matched", "match": "nscl"},
    "kicked": {"kind": "kicked", "match": "nscl"},
    "other": {"kind": "other-inputs"},
    "twin": {"kind": "twin", "of": "kicked"},
}
KEEP = {"keep": {"steps": [0], "last": True}, "recovery": {"steps": [3, 5]}}
LARS = {"name": "lars", "learning_rate": 0.3, "clip_norm": 1.0, "horizon": 20}
WAYS = {"launches": {"graphs": False}, "graphs": {}, "graphs side by side": {"side_by_side": True}}
STYLES = {
    "float32": {},
    "bf16": {"precision": "bf16", "memory_format": "channels_last", "views_forward": "separate"},
}


def config_of(folder: str, style: str = "float32", **sections: object):
    """A tiny run of five arms with everything recorded."""
    train_table = {"steps": 8, "device": DEVICE.type, **STYLES.get(style, {}), **sections.pop("train", {})}
    given = tables(
        name=style,
        data={"name": "shapes", "labelling": "size", "per_class": 32},
        batches={"size": 32},
        views={"size": 24},
        model=sections.pop("model", {"width": 8}),
        train=train_table,
        paths={"runs": folder},
        arms=sections.pop("arms", ARMS),
        **{"optimiser": LARS, "checkpoints": KEEP, **sections},
    )
    return from_tables(given)


class Crash(Silent):
    """Ends the run as a kill does."""

    def __init__(self, at: int) -> None:
        self.at = at

    def stepped(self, step: int) -> None:
        if step == self.at:
            raise KeyboardInterrupt


def _twice(style: str, **sections: object) -> str:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        first = train(config_of(one, style, **deepcopy(sections)))
        with suppress(KeyboardInterrupt):
            train(config_of(two, style, **deepcopy(sections)), reporter=Crash(4))
        second = resume(Path(two) / first.name)
        hashes = [tree_hash(path) for path in (first, second)]
        check(hashes[0] == hashes[1], "a run that was killed at step 4 and resumed has other bytes")
        folder = first / "records/scalars/twin"
        distance = np.concatenate([open_tensors(path)["state.distance"] for path in sorted(folder.iterdir())])
        check(not distance.any(), f"the twin is {distance.max()} away")
        return f"equal hashes, twin at 0, {len(distance)} states"


@part(gpu=False)
def a_float32_run_of_five_arms_killed_and_resumed_has_the_hash_of_one_that_was_not() -> str:
    return _twice("float32")


@part(gpu=False)
def the_same_in_bf16_channels_last_and_separate_forwards() -> str:
    return _twice("bf16")


@part(gpu=False)
def the_same_of_every_control_with_ledger_and_flips() -> str:
    sections = {
        "arms": CONTROLS,
        "optimiser": {"learning_rate": 0.1},
        "model": {"width": 8, "activation": "gelu"},
        "record": {"ledger": {"every": 1}, "flips": {"every": 2}},
        "ledger": {"contrast": ["nscl", "placebo"]},
    }
    return _twice("float32", **sections)


@part(gpu=False)
def ledger_and_flips_change_no_weight() -> str:
    with tempfile.TemporaryDirectory() as folder:
        plain = {"arms": CONTROLS, "optimiser": {"learning_rate": 0.1}}
        audited = {**plain, "record": {"ledger": {"every": 1}, "flips": {"every": 2}}}
        runs = [train(replace(config_of(folder, **deepcopy(s)), name=n)) for n, s in (("a", plain), ("b", audited))]
        for arm in CONTROLS:
            one, other = (open_tensors(run / f"checkpoints/step-000000008/{arm}.safetensors") for run in runs)
            check(all(one[key].tobytes() == other[key].tobytes() for key in one), f"{arm} ends in other bytes")
    return f"{len(CONTROLS)} arms, equal bytes at step 8"


@part()
def graphs_give_the_bytes_of_launches() -> str:
    cases = {
        "float32": {},
        "bf16": {},
        "gelu": {"arms": CONTROLS, "optimiser": {"learning_rate": 0.1}, "model": {"width": 8, "activation": "gelu"}},
        "adamw": {"optimiser": {"name": "adamw", "learning_rate": 1e-3, "clip_norm": 0.1}},
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, sections in cases.items():
            hashes = {}
            for way, fields in WAYS.items():
                config = config_of(f"{folder}/{way}", name, **deepcopy(sections))
                hashes[way] = tree_hash(train(replace(config, train=replace(config.train, **fields))))
            for way in WAYS:
                check(hashes[way] == hashes["launches"], f"{name}: other bytes with {way} than with launches")
    return f"{len(cases)} runs of 8 steps, three ways each: equal hashes"


@part()
def a_gradient_that_is_not_finite_leaves_every_arm_in_its_last_good_state() -> str:
    with tempfile.TemporaryDirectory() as folder:
        run = assemble(config_of(folder, checkpoints={"keep": {"every": 1}}))
        spoil_gradient(run.arms["nscl"], 4)
        try:
            with run:
                lockstep(run, Silent())
            check(False, "it was not stopped")
        except RunStopped as error:
            check("arm nscl has a non-finite gradient at step 4" in str(error), str(error))
        last = sorted((run.root / "checkpoints").iterdir())[-1]
        check(last.name == "step-000000004", f"{last.name} is the last checkpoint")
        for name, arm in run.arms.items():
            file = open_tensors(last / f"{name}.safetensors")
            for key, tensor in tensors(arm).items():
                check(tensor.detach().cpu().numpy().tobytes() == file[key].tobytes(), f"{key} of {name} has moved")
    return f"{len(run.arms)} arms, stopped at step 4, bytes of the checkpoint at step 4"


@part()
def float64_on_the_gpu_follows_the_cpu_for_ten_steps() -> str:
    with tempfile.TemporaryDirectory() as folder:
        ends = {}
        for device in ("cpu", "cuda"):
            config = config_of(folder, "float64", train={"device": device, "precision": "float64", "steps": 10})
            run = train(replace(config, name=device))
            files = sorted((run / "checkpoints/step-000000010").glob("*.safetensors"))
            ends[device] = {
                f"{file.stem}/{name}": array for file in files for name, array in open_tensors(file).items()
            }
            shards = sorted((run / "records/scalars/shared").iterdir())
            ends[device]["chain"] = np.concatenate([open_tensors(path)["batch.chain"] for path in shards])
        check(np.array_equal(ends["cpu"].pop("chain"), ends["cuda"].pop("chain")), "the certificates differ")
        worst = max(
            (float(np.abs(a - ends["cuda"][k]).max() / max(np.abs(a).max(), 1e-3)), k) for k, a in ends["cpu"].items()
        )
    check(worst[0] < 1e-8, f"{worst[1]} is off by {worst[0]:.1e}")
    return f"certificates equal, weights and state within {worst[0]:.1e} ({worst[1]})"


@part()
def each_arm_alone_has_the_bytes_of_all_together() -> str:
    with tempfile.TemporaryDirectory() as folder:
        whole = train(config_of(folder))
        torch.cuda.set_per_process_memory_fraction(0.3)
        try:
            for name in ("cl", "scl", "ce"):
                alone = train(replace(config_of(folder, arms={name: ARMS[name]}), name=f"only-{name}"))
                a, b = (run / f"checkpoints/step-000000008/{name}.safetensors" for run in (whole, alone))
                one, other = open_tensors(a), open_tensors(b)
                same = all(one[key].tobytes() == other[key].tobytes() for key in one)
                check(same, f"{name} alone ends in other bytes")
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    return "cl, scl and ce, at a memory fraction of .3"


@part(needs=("pytest",))
def every_recorded_column_of_a_gpu_run_is_what_the_cpu_says() -> str:
    import sys

    sys.path.insert(0, str(Path(__file__).parent.parent / "coupled/recording"))
    import test_columns as columns

    made = columns.tiny
    columns.tiny = lambda folder, **sections: made(
        folder, **{**sections, "train": {**sections["train"], "device": "cuda"}}
    )
    wrong: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        truth = columns.Truth(Path(folder))
        for stream, owner, column in columns.COLUMNS:
            key, argument = columns.oracle_of(stream, owner, column)
            if stream == "pixels":
                continue  # bytes of floats
            for step, row in truth.recorded(stream, owner, column):
                value = columns.ORACLES[key][0](truth, *([] if owner == "shared" else [owner]), step, *argument)
                wide = np.frombuffer(value, "u1").reshape(row.shape) if isinstance(value, bytes) else np.asarray(value)
                if not np.allclose(row, wide, rtol=1e-8, atol=1e-9, equal_nan=True):
                    wrong[key] += 1
    check(not wrong, f"differ: {dict(wrong)}")
    return f"{len(columns.COLUMNS)} columns within 1e-8"


@part()
def lines_that_make_the_host_wait() -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        config = config_of(folder, "bf16", train={"steps": 12})
        run = assemble(config)
        places: Counter[str] = Counter()
        with run:
            steps = iter(range(12))
            for _ in range(4):
                advance(run, next(steps))
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("warn")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for _ in range(4):
                    advance(run, next(steps))
            torch.cuda.set_sync_debug_mode("default")
            for warning in caught:
                if "synchroniz" in str(warning.message):
                    places[f"{Path(warning.filename).name}:{warning.lineno}"] += 1
    table = "lines that wait (of four steps with five arms)\n" + "\n".join(
        f"{count:4} {place}" for place, count in places.most_common()
    )
    return f"{sum(places.values()) / 4:.1f} waits a step", table


@part()
def a_step_of_a_tiny_run_counted_in_launches() -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        run = assemble(config_of(folder, train={"steps": 8}))
        with run:
            for step in range(3):
                advance(run, step)
            torch.cuda.synchronize()
            activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
            with torch.profiler.profile(activities=activities) as profile:
                advance(run, 3)
                torch.cuda.synchronize()
    calls = Counter(
        event.name for event in profile.events() if event.name.startswith(("cudaLaunch", "cudaGraphLaunch"))
    )
    events = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    kinds = Counter("copy" if "Memcpy" in e.name else "fill" if "Memset" in e.name else "kernel" for e in events)
    copies = Counter(event.name for event in events if "Memcpy" in event.name)
    return f"{dict(kinds)} of five arms by {dict(calls)}", "copies: " + json.dumps(copies)
