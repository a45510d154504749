"""CIFAR's python version as Python 2's cPickle and the NumPy of 2009 wrote it, instruction by instruction.

Python 3 cannot write such a file: its strings of bytes go another way. Nothing of ours takes part.
"""

import struct


def string(content):
    head = b"U" + bytes([len(content)]) if len(content) < 256 else b"T" + struct.pack("<I", len(content))
    return head + bytes(content)


def number(value):
    if 0 <= value < 256:
        return b"K" + bytes([value])
    return b"M" + struct.pack("<H", value) if 0 <= value < 65536 else b"J" + struct.pack("<i", value)


def put(place):
    return b"q" + bytes([place]) if place < 256 else b"r" + struct.pack("<I", place)


def a_list(values, place):
    """In portions of 1000, as cPickle writes lists."""
    portions = [b"(" + b"".join(values[k : k + 1000]) + b"e" for k in range(0, len(values), 1000)]
    return b"]" + put(place) + b"".join(portions)


DTYPE = b"cnumpy\ndtype\nq\x20U\x02u1q\x21K\x00K\x01\x87q\x22Rq\x23"
DTYPE_STATE = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
EMPTY = b"cnumpy.core.multiarray\n_reconstruct\nq\x1ccnumpy\nndarray\nq\x1dK\x00\x85U\x01b\x87q\x1eRq\x1f"


def array(content, shape, *, dtype=DTYPE + DTYPE_STATE, by_columns=False):
    sizes = b"".join(map(number, shape)) + {1: b"\x85", 2: b"\x86", 3: b"\x87"}[len(shape)]
    order = b"\x88" if by_columns else b"\x89"
    return EMPTY + b"(K\x01" + sizes + dtype + order + string(content) + b"tb"


def dictionary(pairs):
    """A file: keys (bytes) and values (instructions)."""
    return b"\x80\x02}q\x01(" + b"".join(string(key) + value for key, value in pairs) + b"u."


def batch(images, labels):
    """A file of images (bytes of planes) and its labellings, {key: numbers}."""
    count = len(images)
    names = [string(b"leptodactylus_pentadactylus_s_%06d.png" % k) + put(300 + k) for k in range(count)]
    lists = [
        (key, a_list([number(value) for value in values], 5 + k)) for k, (key, values) in enumerate(labels.items())
    ]
    pixels = array(b"".join(images), (count, 3072))
    return dictionary(
        [
            (b"batch_label", string(b"training batch 1 of 5")),
            *lists,
            (b"data", pixels),
            (b"filenames", a_list(names, 9)),
        ]
    )
