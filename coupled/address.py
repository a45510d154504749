"""Randomness is an address: every random word is a pure function of (seed, purpose, fields, position).

Philox4x32-10 (Salmon et al., SC'11) in integer tensor arithmetic: the words are the same on every machine and device,
in any order and in any process. How an address is packed is part of the public format (`runs/README.md`):

    key      word 0   low half of the 64-bit seed
             word 1   high half of the 64-bit seed
    counter  word 0   block: position of the 4-word block inside the address
             word 1   field a (32 bits)
             word 2   field b (32 bits)
             word 3   purpose (8 high bits) | field c (24 low bits)
"""

import hashlib
import math
from enum import IntEnum

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
# Normal values made at a time: the intermediate tensors then stay in the cache, which more than halves the time.
_CHUNK = 1 << 16


class Purpose(IntEnum):
    """The purpose of a draw. Numbers are never reused: a new purpose gets a new one."""

    # In the first four, draw 0 is the inputs that arms share, and a control's `draw` gives others.
    ORDER = 1  # a = epoch, b = draw: the uniform stream's permutation, one block per sample
    CLASS_ORDER = 2  # a = cycle, b = class, c = draw: the balanced stream's permutation of one class
    REMAINDER = 3  # a = block of C steps, b = draw: which classes get one sample more in a balanced batch
    VIEW = 4  # a = sample id, b = visit, c = 2·draw + view index
    INIT = 5  # a = name_word(parameter), b = draw (0: the shared initialisation)
    NUDGE = 6  # a = name_word(parameter), b = draw: the sign of a nudged twin's every weight
    PANEL = 7  # which ids make the panel (seed 0: the same for every run)
    SURROGATE = 8  # which ids make the surrogate panel (seed 0)
    SURROGATE_VIEW = 9  # a = sample id, c = view index: the surrogate panel's fixed views (seed 0)
    SHAPES = 10  # a = sample id: everything about one image of the data set `shapes`
    SUBSET = 11  # a = class, seed 0: which training images of a class a subset keeps
    HEAD = 12  # a = name_word(parameter), b = draw: a classifier head (objective ce)
    PERMUTATION = 13  # a = number of the permutation, seed 0: which samples a null band pairs with which
    EVALUATION = 14  # a = split (0 train, 1 test), seed 0: which ids are evaluated
    EVALUATION_VIEW = 15  # a = sample id, b = split, c = view index, seed 0: the fixed views of an evaluated sample
    SHOTS = 16  # a = class, b = draw, c = 0, or 1 + split with replacement, seed 0: a few-shot classifier's samples
    CLASS_PAIRS = 17  # a, b = classes of a labelling, of another (or 0), seed 0: which pairs of classes stand for all
    EVALUATION_BATCHES = 18  # a = split, b = batch size, seed 0: how evaluated samples are put into batches
    PICTURE = 19  # a = class, b = split, seed 0: which of its samples pictures show; c = 1 alone: which classes
    PROBE_ORDER = 20  # a = epoch, seed 0: the order in which a probe of minibatches visits its shots
    PLACEBO = 21  # a = step, b = draw: how a placebo's labels are permuted within a batch
    PLACEBO_RUN = 22  # a = draw: how those of the whole data set are permuted
    MATCHED = 27  # a = name_word(parameter), b = draw: where a nudge as long as another arm's first difference goes
    KICK = 28  # a = name_word(parameter), b = draw, c = step: where a kick of the update from that step goes
    CLASSES = 29  # the order of all classes, of which a sweep over their number takes the first


# The key of an address, and the words 2 and 3 of its counter: all but the block and field a.
Counter = tuple[tuple[int, int], tuple[int, int]]


def counter_of(seed: int, purpose: Purpose, *, b: int = 0, c: int = 0) -> Counter:
    """What addresses that differ in field a have in common."""
    return (seed & _MASK, seed >> 32), (b, c | int(purpose) << 24)


def philox(counter: Tensor, key: tuple[int, int]) -> Tensor:
    """Philox4x32-10 of `counter` (…, 4), int64 holding 32-bit words, under `key`; words (…, 4) in [0, 2³²), int64."""
    c0, c1, c2, c3 = counter.unbind(-1)
    k0, k1 = key
    for _ in range(_ROUNDS):
        # int64 products wrap, and the 64 bits that remain are those of the unsigned product.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = ((p1 >> 32) & _MASK) ^ c1 ^ k0, p1 & _MASK, ((p0 >> 32) & _MASK) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return torch.stack((c0, c1, c2, c3), dim=-1)


def words(
    seed: int,
    purpose: Purpose,
    count: int,
    *,
    a: Tensor | int = 0,
    b: Tensor | int = 0,
    c: Tensor | int = 0,
    first: int = 0,
) -> Tensor:
    """`count` words of each address from word `first` on, int64 in [0, 2³²), shape (*broadcast of a, b, c; count).

    `seed` is in [0, 2⁶⁴); fields a and b hold 32 bits, c holds 24; `first` is a multiple of 4, where a block begins.
    The device is that of the fields (CPU for plain integers).
    """
    assert first % 4 == 0, f"word {first} is inside a block"
    assert 0 <= seed < 1 << 64, f"seed {seed} is not an unsigned 64-bit integer"
    device = next((field.device for field in (a, b, c) if isinstance(field, Tensor)), None)
    given = [torch.as_tensor(field, dtype=torch.int64, device=device) for field in (a, b, c)]
    given[2] = given[2] | int(purpose) << 24
    fields = torch.stack(torch.broadcast_tensors(*given), dim=-1)
    block = torch.arange(first // 4, -(-(first + count) // 4), dtype=torch.int64, device=fields.device)
    shape = (*fields.shape[:-1], len(block))
    counter = torch.cat([block.expand(shape)[..., None], fields[..., None, :].expand(*shape, 3)], dim=-1)
    return philox(counter, (seed & _MASK, seed >> 32)).flatten(-2)[..., :count]


def uniform(drawn: Tensor) -> Tensor:
    """Words to float64 in the open interval (0, 1): (w + ½)·2⁻³², exact, so equal on every machine."""
    return (drawn.to(torch.float64) + 0.5) * 2.0**-32


def normal(seed: int, purpose: Purpose, count: int, **fields: int) -> Tensor:
    """`count` standard normal float64 values on the CPU: the inverse normal of 52 random bits each."""
    parts = []
    for start in range(0, count, _CHUNK):
        pair = words(seed, purpose, 2 * min(_CHUNK, count - start), first=2 * start, **fields).view(-1, 2)
        bits = (pair[:, 0] << 20) | (pair[:, 1] >> 12)
        parts.append(torch.erfinv((bits.to(torch.float64) + 0.5) * 2.0**-51 - 1.0) * math.sqrt(2.0))
    return torch.cat(parts)


def permutation(seed: int, purpose: Purpose, n: int, **fields: int) -> Tensor:
    """A permutation of 0 … n−1 (int64): stable order of 64-bit keys, one block per element, high word first."""
    block = words(seed, purpose, 4 * n, **fields).view(n, 4)
    # A signed 64-bit key: subtracting 2³¹ from the high word makes signed order equal unsigned order.
    return torch.argsort(((block[:, 0] - (1 << 31)) << 32) | block[:, 1], stable=True)


def name_word(name: str) -> int:
    """The 32-bit field that stands for a name: the first four bytes of its SHA-256, big-endian."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
