"""What every rank of a launch runs: all cases of one number of ranks, one after the other.

    torchrun … cases.py CASES.json FOLDER

A case names a way to go through a tiny config: `train` it, `stop` it between two steps and resume it, write the first
`gradient` of every arm, let one rank go `astray`, have an arm `halted`, or `count` the states that a rank holds.
`mutant` breaks something, or makes the networks smooth.
"""

import gc
import json
import os
import signal
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from coupled import runtime
from coupled.arms import arm as arms
from coupled.config import from_tables
from coupled.driver import preflight
from coupled.driver.assembly import build, start_run
from coupled.driver.loop import lockstep
from coupled.driver.reporter import Silent
from coupled.driver.train import resume, train
from coupled.errors import RunStopped
from coupled.models.flat import FlatState
from coupled.objectives.losses import per_anchor
from coupled.ranks import exchange, sums
from coupled.ranks.joining import joined
from coupled.ranks.mesh import Axis
from coupled.recording.checkpoints import tensors

sys.path.append(str(Path(__file__).parents[2]))  # as pytest has it; this file is run as a script
from helpers import spoil_gradient, without_kinks
from rank_cases import placed


class Stop(Silent):
    """Asks to stop, as a signal does, after `step` updates; rank 0 alone gets it."""

    def __init__(self, step):
        self.step = step

    def stepped(self, step):
        if step == self.step:
            signal.raise_signal(signal.SIGTERM)


def stop(config, steps, overrides=()):
    """Train, asked to stop after each of these steps in turn and resumed, at last to the end with `overrides`."""
    path = Path(config.paths.runs) / config.name
    for step in steps:
        try:
            if step == steps[0]:
                train(config, reporter=Stop(step))
            else:
                resume(path, reporter=Stop(step))
        except RunStopped as error:
            if error.exit_code != 143:
                raise
        else:
            raise AssertionError("it was not stopped")
    resume(path, overrides=overrides)


def flat(arm):
    """The gradient without padding, float64."""
    return np.concatenate([s.view(arm.state.gradient).double().numpy().ravel() for s in arm.state.weight_segments])


def gradient(config):
    with joined(config) as mesh:
        parts = build(config, mesh)
        batch = parts.source.at(0)
        for name, arm in parts.arms.items():
            arm.forward_backward(batch)
            if mesh.holds(name):
                np.save(Path(config.paths.runs) / f"{config.name}-{name}.npy", flat(arm))


def astray(config):
    """One rank's weights move by an ulp where its copy's do not."""
    update = arms.Arm.update

    def moved(self, rate, halted=None):
        update(self, rate, halted)
        if os.environ["RANK"] == "1":
            self.state.weights[0] = torch.nextafter(self.state.weights[0], torch.tensor(torch.inf))

    arms.Arm.update = moved
    try:
        train(config)
    except RunStopped as error:
        Path(config.paths.runs, f"{config.name}-{os.environ['RANK']}.txt").write_text(str(error))
    finally:
        arms.Arm.update = update


def halted(config):
    """The gradient of nscl is spoiled at step 3, and the host told later: the states that arms are left in."""
    with joined(config) as mesh:
        run = start_run(build(config, mesh))
        if "nscl" in run.arms:
            spoil_gradient(run.arms["nscl"], 3)
        saved = {}
        try:
            with run:
                lockstep(run, Silent())
        except RunStopped as error:
            saved = {"error": str(error), "quiet": error.quiet}
        saved["arms"] = {n: {k: t.tolist() for k, t in tensors(arm).items()} for n, arm in run.arms.items()}
        Path(config.paths.runs, f"{config.name}-{mesh.rank}.json").write_text(json.dumps(saved))


def count(config):
    with joined(config) as mesh:
        parts = build(config, mesh)
        gc.collect()
        held = sum(isinstance(thing, FlatState) for thing in gc.get_objects())
        path = Path(config.paths.runs) / f"{config.name}-{mesh.rank}.json"
        path.write_text(json.dumps({"arms": list(parts.arms), "states": held}))


@contextmanager
def mutated(name, config):
    """One thing broken: remote gradients `dropped`, all `shrunk` by 1/W, or reduced by torch's own `ddp`.

    `smooth` breaks nothing: networks without kinks. Nor does `behind`: the device is taken for one that runs behind.
    """
    kept = exchange._Whole.backward, arms.batch_loss, sums.add_up, arms.Arm.forward, preflight.repeats_its_bytes
    at_once = runtime.runs_behind

    def shrunk(ctx, *grads):
        gradient, none = kept[0](ctx, *grads)
        return gradient / ctx.axis.size, none

    def own_anchors_only(objective, sigma, masks, temperature):
        # What the anchors of other ranks pull at this one's samples is lost.
        views = per_anchor(objective, sigma, masks, temperature).unflatten(0, (2, -1))
        own = Axis(int(os.environ["RANK"]) % config.ranks.data, config.ranks.data).part(views.shape[1])
        return views[:, own].sum() / views.numel()

    def ddp_forward(self, batch):
        if not isinstance(self._training_network, DistributedDataParallel):
            # Small buckets, so that there are several.
            self._training_network = DistributedDataParallel(
                self.network, bucket_cap_mb=0.01, broadcast_buffers=False, process_group=self._data.group
            )
        return kept[3](self, batch)

    if name == "behind":
        runtime.runs_behind = lambda device: True
    if name == "shrunk":
        exchange._Whole.backward = staticmethod(shrunk)
    if name == "dropped":
        arms.batch_loss = own_anchors_only
    if name == "ddp":
        sums.add_up, arms.Arm.forward = lambda flat, axis: flat.mul_(axis.size), ddp_forward
        # The self-check sees it at once: from three ranks on its second step adds up in another order than its first.
        preflight.repeats_its_bytes = lambda parts: None
    try:
        with without_kinks() if name == "smooth" else nullcontext():
            yield
    finally:
        exchange._Whole.backward, arms.batch_loss, sums.add_up, arms.Arm.forward = kept[:4]
        preflight.repeats_its_bytes, runtime.runs_behind = kept[4], at_once


def main(cases, folder):
    torch.set_num_threads(1)
    for case in json.loads(Path(cases).read_text()):
        config = from_tables(placed(case["tables"], folder) | {"name": case["name"]})
        with mutated(case.get("mutant"), config):
            match case["way"]:
                case "train":
                    train(config)
                case "stop":
                    stop(config, case["steps"], case["overrides"])
                case "gradient":
                    gradient(config)
                case "astray":
                    astray(config)
                case "halted":
                    halted(config)
                case "count":
                    count(config)


if __name__ == "__main__":
    main(*sys.argv[1:])
