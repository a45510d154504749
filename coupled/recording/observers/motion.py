"""The stream motion: how far each arm is from its own start, and whether it went where its reference went."""

import torch
from torch import Tensor

from coupled.arms.initial import initial_weights
from coupled.config import Config
from coupled.models.segments import Segments
from coupled.recording.observation import Observation, Observer, Rows, Setting
from coupled.recording.weights import ArmWeights
from coupled.runtime import one_thread


class Motion(Observer):
    """docs/theory.md (62). The starts are made again from their addresses, also when a run is gone on with."""

    stream = "motion"

    def __init__(self, setting: Setting) -> None:
        self._config: Config = setting.config
        self._starts: dict[str, Tensor] = {}

    def state(self, seen: Observation) -> Rows:
        with one_thread():
            starts, sums = self._starts_of(seen), seen.geometry
            references = {name: _moved(of, starts[name], sums) for name, of in seen.weights.references.items()}
            rows = {}
            for name, of in seen.weights.own.items():
                moved = references[name] if name in references else _moved(of, starts[name], sums)
                rows[name] = {"state.moved": moved.squares.sum().sqrt(), "state.layer_moved": moved.squares.sqrt()}
                reference = seen.arms[name].reference
                if reference is not None:
                    rows[name]["state.cosine"] = _cosine(moved, references[reference], sums)
        return rows

    def _starts_of(self, seen: Observation) -> dict[str, Tensor]:
        """Those of the arms here and of their references, in the run's precision; equal ones are held once."""
        if not self._starts:
            names = dict.fromkeys([*seen.weights.own, *seen.weights.references])
            self._starts = initial_weights(self._config, names, seen.geometry.lengths.device)
        return self._starts


def _moved(weights: ArmWeights, start: Tensor, sums: Segments) -> ArmWeights:
    """w_t − w_0 in float64, where both are exact."""
    moved = weights.flat - start
    return ArmWeights(moved, sums.sums(moved * moved))


def _cosine(own: ArmWeights, reference: ArmWeights, sums: Segments) -> Tensor:
    """The cosine of two motions, 0-d; NaN where either is 0."""
    product = sums.sums(own.flat * reference.flat).sum()
    # The product of two squared norms may leave float64 where neither does, so its root is taken of their digits, and
    # their powers of two are halved. One root of both: for equal motions it is the squared norm itself, the cosine 1.
    digits, powers = zip(*(torch.frexp(motion.squares.sum()) for motion in (own, reference)), strict=True)
    power = powers[0] + powers[1]
    half = power // 2
    root = (digits[0] * digits[1] * _power_of_two(power - 2 * half)).sqrt()
    quarter = half // 2
    cosine = product * _power_of_two(-quarter) * _power_of_two(quarter - half) / root
    return torch.clamp(cosine, -1.0, 1.0)


def _power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent, made of its bits: |exponent| ≤ 1022."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)
