"""The chain of what arms shared: its formula by hand, and that it goes on from a saved link."""

import struct
from hashlib import sha256
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from coupled.inputs.certificate import Certificate, next_link


def batch(seed):
    return SimpleNamespace(ids=torch.arange(seed, seed + 3), words=torch.arange(12).view(2, 3, 2) * seed)


def digest(values):
    return sha256(np.array(values.shape, "<i8").tobytes() + values.numpy().astype("<i8").tobytes()).digest()


def test_a_link_is_the_digest_of_the_one_before_and_of_the_steps_inputs():
    certificate, link = Certificate(b"weights"), sha256(b"weights").digest()
    for seed, rate in ((1, 0.5), (2, 0.25)):
        added = certificate.extend(batch(seed), rate)
        link = sha256(link + digest(batch(seed).ids) + digest(batch(seed).words) + struct.pack("<d", rate)).digest()
        assert added == (rate, digest(batch(seed).ids), digest(batch(seed).words), link)
    assert certificate.link == link


def test_a_chain_goes_on_from_a_saved_link_of_32_bytes():
    whole = Certificate(b"weights")
    whole.extend(batch(1), 0.5)
    resumed = Certificate.resumed(whole.link)
    assert resumed.extend(batch(2), 0.25) == whole.extend(batch(2), 0.25)
    for length in (0, 31, 33):
        with pytest.raises(ValueError, match="not 32 bytes"):
            Certificate.resumed(bytes(length))


def test_every_part_of_a_step_moves_the_link():
    parts = (bytes(32), b"1" * 32, b"2" * 32, 0.5)
    others = (b"0" * 32, b"3" * 32, b"4" * 32, -0.5)
    links = {next_link(*parts)} | {next_link(*parts[:k], others[k], *parts[k + 1 :]) for k in range(4)}
    assert len(links) == 5
