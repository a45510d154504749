"""How an image of `shapes` is drawn from the words of its address.

Only elementwise operations that IEEE 754 rounds exactly (+ − × ÷ √ min max floor; sines come from a table), so that
the bytes of an image depend neither on the images drawn with it nor on the number of threads.
Legend: n images; fields over pixels are (n, 1, 32, 32), numbers (n, 1, 1, 1), colours (n, 3, 1, 1), all float32.
Lengths are in pixels, angles and hues in turns.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from coupled.address import uniform

SIZE = 32
HUES = {
    **{"red": 0.0, "orange": 0.075, "yellow": 0.15, "green": 0.34},
    **{"cyan": 0.5, "blue": 0.61, "violet": 0.76, "pink": 0.9},
}
RADII = {"small": 6.5, "large": 10.0}  # before up to 15 % is added
_BLOBS, _RODS = 2, 4
NUISANCES = (
    *("x", "y", "scale", "turn", "hue", "saturation", "value"),
    *("texture_angle", "texture_s", "texture_t", "period", "ink"),
    *("ground_hue", "ground_saturation", "ground_value", "gradient_angle", "gradient_hue", "gradient_value"),
    *("light_angle", "light_slope", "light_gain", "noise"),
    *(f"blob{k}_{part}" for k in range(_BLOBS) for part in ("x", "y", "radius", "hue", "value")),
    *(f"rod{k}_{part}" for k in range(_RODS) for part in ("x", "y", "angle", "length", "hue", "value")),
)

_ANGLES = 1024
_COS = torch.tensor([math.cos(2 * math.pi * k / _ANGLES) for k in range(_ANGLES)], dtype=torch.float32)


class _Nuisances:
    """The nuisances of n images by name, from their words (n, ≥ names)."""

    def __init__(self, drawn: Tensor) -> None:
        drawn = drawn[:, : len(NUISANCES), None, None, None]
        self._words = dict(zip(NUISANCES, drawn.unbind(1), strict=True))
        self._uniforms = dict(zip(NUISANCES, uniform(drawn).to(torch.float32).unbind(1), strict=True))

    def between(self, name: str, low: float, high: float) -> Tensor:
        return self._uniforms[name] * (high - low) + low

    def cos_sin(self, name: str, steps: int = _ANGLES) -> tuple[Tensor, Tensor]:
        """Cosine and sine of an angle of −`steps`/2 … `steps`/2 − 1 thousand-and-twenty-fourths of a turn."""
        angle = (self._words[name] * steps >> 32) - steps // 2
        return _COS[angle % _ANGLES], _COS[(angle - _ANGLES // 4) % _ANGLES]


def draw(kinds: dict[str, Tensor], nuisances: Tensor, pixels: Tensor) -> Tensor:
    """Images uint8 RGB (n, 3, 32, 32).

    `kinds` are the factors' classes, int64 (n,); `nuisances` (n, ≥ names) and `pixels` (n, 32²) are words, int64.
    """
    nuisance = _Nuisances(nuisances)
    axis = torch.arange(SIZE, dtype=torch.float32) - (SIZE - 1) / 2
    x, y = axis.view(1, 1, 1, -1), axis.view(1, 1, -1, 1)
    image = _with_object(_background(nuisance, x, y), nuisance, kinds, x, y)
    cos, sin = nuisance.cos_sin("light_angle")
    slope = nuisance.between("light_slope", 0.0, 0.3 / SIZE)
    image = image * (nuisance.between("light_gain", 0.85, 1.1) + (cos * x + sin * y) * slope)
    word = pixels.view(-1, 1, SIZE, SIZE)
    noise = torch.cat([word >> shift & 0xFF for shift in (0, 8, 16)], dim=1).to(torch.float32) - 127.5
    image = image * 255.0 + noise * nuisance.between("noise", 0.01, 0.06)
    return (image + 0.5).clamp(0.0, 255.0).to(torch.uint8)


def _background(nuisance: _Nuisances, x: Tensor, y: Tensor) -> Tensor:
    """Two pale colours in a gradient, soft blobs, small rods: (n, 3, 32, 32) in [0, 1]."""
    between = nuisance.between
    hue, saturation = between("ground_hue", 0.0, 1.0), between("ground_saturation", 0.1, 0.55)
    near = _rgb(hue, saturation, between("ground_value", 0.35, 0.95))
    far = _rgb(hue + between("gradient_hue", -0.2, 0.2), saturation, between("gradient_value", 0.35, 0.95))
    cos, sin = nuisance.cos_sin("gradient_angle")
    image = _mix(near, far, ((cos * x + sin * y) * (1 / 36) + 0.5).clamp(0.0, 1.0))
    for k in range(_BLOBS):
        radius = between(f"blob{k}_radius", 7.0, 16.0)
        u, v = x - between(f"blob{k}_x", -16.0, 16.0), y - between(f"blob{k}_y", -16.0, 16.0)
        fade = (1.0 - (u * u + v * v) / (radius * radius)).clamp_min(0.0)
        colour = _rgb(hue + between(f"blob{k}_hue", -0.3, 0.3), saturation, between(f"blob{k}_value", 0.35, 0.95))
        image = _mix(image, colour, fade * fade)
    for k in range(_RODS):
        cos, sin = nuisance.cos_sin(f"rod{k}_angle")
        u, v = x - between(f"rod{k}_x", -16.0, 16.0), y - between(f"rod{k}_y", -16.0, 16.0)
        along = ((u * cos + v * sin).abs() - between(f"rod{k}_length", 0.0, 3.5)).clamp_min(0.0)
        colour = _rgb(between(f"rod{k}_hue", 0.0, 1.0), 0.6, between(f"rod{k}_value", 0.35, 0.95))
        image = _mix(image, colour, _covered(_length(along, v * cos - u * sin) - 1.0))
    return image


def _with_object(image: Tensor, nuisance: _Nuisances, kinds: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """`image` with the object, its texture and a soft shadow around it."""
    between = nuisance.between
    radius = torch.tensor(list(RADII.values()))[kinds["size"]].view(-1, 1, 1, 1) * between("scale", 1.0, 1.15)
    room = 15.5 - radius
    x, y = x - between("x", -1.0, 1.0) * room, y - between("y", -1.0, 1.0) * room
    cos, sin = nuisance.cos_sin("turn", _ANGLES // 5)
    u, v = (x * cos + y * sin) / radius, (y * cos - x * sin) / radius
    distance = _by_kind(kinds["shape"], SHAPES, u, v) * radius

    cos, sin = nuisance.cos_sin("texture_angle")
    period = between("period", 4.8, 6.0)
    s = (x * cos + y * sin) / period + between("texture_s", 0.0, 1.0)
    t = (y * cos - x * sin) / period + between("texture_t", 0.0, 1.0)
    inked = _covered(_by_kind(kinds["texture"], TEXTURES, _wave(s), _wave(t)) * period)

    hue = torch.tensor(list(HUES.values()))[kinds["colour"]].view(-1, 1, 1, 1) + between("hue", -0.02, 0.02)
    saturation, value = between("saturation", 0.75, 1.0), between("value", 0.8, 1.0)
    body = _rgb(hue, saturation, value)
    ink = _rgb(hue, saturation * 0.9, value * between("ink", 0.25, 0.45))
    lit = (distance * 0.1 + 0.65).clamp(0.65, 1.0)
    return _mix(image * lit, _mix(body, ink, inked), _covered(distance))


def _by_kind(kind: Tensor, kinds: dict[str, Callable[[Tensor, Tensor], Tensor]], u: Tensor, v: Tensor) -> Tensor:
    """Each image's field by the function of its own kind (n,)."""
    field = torch.empty_like(u)
    for index, function in enumerate(kinds.values()):
        mine = (kind == index).nonzero().flatten()
        field[mine] = function(u[mine], v[mine])
    return field


def _rgb(hue: Tensor, saturation: Tensor | float, value: Tensor) -> Tensor:
    """HSV to RGB; any real hue, all else in [0, 1]."""
    sixth = torch.cat([hue * 6.0 + shift for shift in (0.0, 4.0, 2.0)], dim=1)
    sixth = sixth - (sixth * (1 / 6)).floor() * 6.0
    return value * (((sixth - 3.0).abs() - 2.0).clamp(-1.0, 0.0) * saturation + 1.0)


def _mix(under: Tensor, over: Tensor, coverage: Tensor) -> Tensor:
    # Not torch.lerp: a fused multiply-add rounds differently where a batch ends inside a vector register.
    return under + (over - under) * coverage


def _covered(distance: Tensor) -> Tensor:
    """How much of a pixel lies inside, from its centre's signed distance to the edge (negative inside)."""
    return (0.5 - distance).clamp(0.0, 1.0)


def _length(u: Tensor, v: Tensor) -> Tensor:
    # Not torch's root: its library rounds up to a sixth of the results otherwise, which ones depends on the CPU.
    return torch.from_numpy(np.sqrt((u * u + v * v).numpy()))


def _wave(s: Tensor) -> Tensor:
    """A triangle wave of period 1, from −¼ to ¼."""
    return (s - s.floor() - 0.5).abs() - 0.25


_COS_36, _SIN_36 = math.cos(0.2 * math.pi), math.sin(0.2 * math.pi)

# Signed distances to the edge, in units of the radius, with v pointing down; negative inside.


def _disc(u: Tensor, v: Tensor) -> Tensor:
    return _length(u, v) - 0.9


def _square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) - 0.78


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    v = v - 0.2
    return torch.maximum(v, u.abs() * math.sqrt(0.75) - v * 0.5) - 0.55


def _star(u: Tensor, v: Tensor) -> Tensor:
    """Five tips: two reflections fold the plane into a tenth of it, where the edge is one line."""
    u, v = u.abs(), 0.05 - v
    for cos in (_COS_36, -_COS_36):
        beyond = (u * cos - v * _SIN_36).clamp_min(0.0) * 2.0
        u, v = u - beyond * cos, v + beyond * _SIN_36
    return u.abs() * 0.86 + (v - 1.15) * 0.51


def _cross(u: Tensor, v: Tensor) -> Tensor:
    u, v = u.abs(), v.abs()
    return torch.minimum(torch.maximum(u - 0.95, v - 0.33), torch.maximum(v - 0.95, u - 0.33))


def _ring(u: Tensor, v: Tensor) -> Tensor:
    return (_length(u, v) - 0.7).abs() - 0.29


def _heart(u: Tensor, v: Tensor) -> Tensor:
    """A square on its tip and a disc on each of its upper sides."""
    u, v = u.abs(), v - 0.12
    side, tip = (u - v) * math.sqrt(0.5), (u + v) * math.sqrt(0.5)
    square = torch.maximum(side.abs(), tip.abs()) - 0.56
    return torch.minimum(square, _length(side - 0.56, tip) - 0.56)


def _crescent(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(_length(u, v) - 1.0, 0.66 - _length(u - 0.58, v))


SHAPES = {
    **{"disc": _disc, "square": _square, "triangle": _triangle, "star": _star},
    **{"cross": _cross, "ring": _ring, "heart": _heart, "crescent": _crescent},
}


# Signed distances to a texture's ink, in periods, of two triangle waves in [−¼, ¼].


def _solid(s: Tensor, t: Tensor) -> Tensor:
    return torch.full_like(s, 1.0)


def _stripes(s: Tensor, t: Tensor) -> Tensor:
    return s


def _dots(s: Tensor, t: Tensor) -> Tensor:
    return _length(s + 0.25, t + 0.25) - 0.28


def _checker(s: Tensor, t: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(s, t), -torch.maximum(s, t))


TEXTURES = {"solid": _solid, "stripes": _stripes, "dots": _dots, "checker": _checker}
