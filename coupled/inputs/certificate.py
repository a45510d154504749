"""Digests of what arms share: sample ids, integer draws, learning rate, initial weights; chained step by step.

Integers are portable, so their digests are the same on every machine; pixel digests are of one machine type.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from torch import Tensor

from coupled.config.traits import Inputs
from coupled.inputs.draws import Integers
from coupled.inputs.source import Batch
from coupled.models.flat import FlatState


def integers_digest(values: Tensor) -> bytes:
    """SHA-256 of an int64 tensor: its shape, then its elements, all little-endian int64."""
    array = values.cpu().numpy().astype("<i8")
    return hashlib.sha256(np.array(array.shape, "<i8").tobytes() + array.tobytes()).digest()


def weights_digest(state: FlatState) -> bytes:
    """SHA-256 over every parameter and buffer that arms share, in order: name, NUL, little-endian bytes."""
    sha = hashlib.sha256()
    shared = {segment.name: segment.view(state.weights) for segment in state.shared_segments}
    for name, tensor in (shared | state.named_buffers()).items():
        array = tensor.detach().cpu().numpy()
        sha.update(name.encode() + b"\0" + array.astype(array.dtype.newbyteorder("<")).tobytes())
    return sha.digest()


def next_link(link: bytes, ids_digest: bytes, draws_digest: bytes, learning_rate: float) -> bytes:
    """link_{t+1} = SHA-256(link_t ‖ ids digest ‖ draws digest ‖ learning rate as a little-endian double).

    docs/theory.md (74).
    """
    return hashlib.sha256(link + ids_digest + draws_digest + struct.pack("<d", learning_rate)).digest()


class Certificate:
    """One chain so far: `link` is link_0 = SHA-256(digest of the initial weights), and link_{t+1} after `extend(t)`."""

    def __init__(self, initial_weights: bytes) -> None:
        self.link = hashlib.sha256(initial_weights).digest()

    @classmethod
    def resumed(cls, link: bytes) -> Self:
        """The chain from a link that was saved; ValueError if it is not 32 bytes."""
        if len(link) != hashlib.sha256().digest_size:
            raise ValueError("the chain's link is not 32 bytes")
        certificate = cls(b"")
        certificate.link = link
        return certificate

    def extend(self, integers: Integers, learning_rate: float) -> "Link":
        """Chain one step."""
        ids, draws = integers_digest(integers.ids), integers_digest(integers.words)
        self.link = next_link(self.link, ids, draws, learning_rate)
        return Link(learning_rate, ids, draws, self.link)


class Link(NamedTuple):
    """What a step adds to the chain, and the chain after it (32 bytes each)."""

    learning_rate: float
    ids: bytes
    draws: bytes
    chain: bytes


class Chains:
    """One chain for every kind of input of a run: that of what arms share, under None, and one of each other kind.

    All begin with the digest of the shared initial weights.
    """

    def __init__(self, initial_weights: bytes, kinds: Iterable[Inputs] = ()) -> None:
        self._chains: dict[Inputs | None, Certificate] = {
            inputs: Certificate(initial_weights) for inputs in (None, *kinds)
        }

    @classmethod
    def resumed(cls, state: Mapping[str, Any], kinds: Iterable[Inputs] = ()) -> Self:
        """The chains of these kinds from what `state` gave; ValueError, KeyError or TypeError if it is of others."""
        chains, others = cls(b"", kinds), state.get("chains", {})
        links: dict[Inputs | None, str] = {None: state["chain"]}
        links |= {inputs: others[inputs.key] for inputs in chains._chains if inputs is not None}
        if len(others) != len(links) - 1:
            raise ValueError("it has the chains of other kinds of input")
        chains._chains = {inputs: Certificate.resumed(bytes.fromhex(link)) for inputs, link in links.items()}
        return chains

    def extend(self, batch: Batch, learning_rate: float) -> "Links":
        """Chain one step of every kind."""
        integers = batch.integers()
        return {inputs: chain.extend(integers[inputs], learning_rate) for inputs, chain in self._chains.items()}

    def state(self) -> dict[str, Any]:
        """Their links in hex, as a checkpoint's state has them: `chain`, and by kind `chains` where there are any."""
        links = {inputs: chain.link.hex() for inputs, chain in self._chains.items()}
        others = {inputs.key: link for inputs, link in links.items() if inputs is not None}
        return {"chain": links[None]} | ({"chains": others} if others else {})


Links = Mapping[Inputs | None, Link]
