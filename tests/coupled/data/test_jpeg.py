"""JPEG: every common kind is read as Pillow reads it; what shows in markers, headers and scans is named."""

import io
import re
import struct

import numpy as np
import pytest
from drawn_pictures import picture
from picture_bytes import encoded, jpegs, segments
from PIL import Image

from coupled.data import decode
from coupled.data.unfit import Unfit

SOFT = picture(40, 29, 5)
FILES = jpegs()
PLAIN, STEPS = FILES["RGB"], FILES["progressive"]
RESTARTS = encoded(SOFT, "JPEG", quality=85, restart_marker_blocks=1)  # 6 units of 16 × 16 pixels, D0 … D4 between them


def _pillows(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image.convert("RGB")).tolist()


def _reason(content):
    with pytest.raises(Unfit) as error:
        decode.pixels(content)
    return error.value


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}], ids=["", "steps", "restarts"]
)
def test_every_common_kind_is_read_as_pillow_reads_it(mode, options):
    for width, height in [(1, 1), (8, 8), (17, 9), (9, 33), (70, 50)]:
        for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
            content = encoded(picture(width, height, 3, mode), "JPEG", subsampling=subsampling, **options)
            assert decode.pixels(content).tolist() == _pillows(content), (width, height, subsampling)


def _segment(marker, body):
    return struct.pack(">BBH", 255, marker, 2 + len(body)) + body


def _at(content, marker, *, behind=False, which=0):
    """The place of a segment, or of what follows it."""
    place, _, follows = [segment for segment in segments(content) if segment[1] == marker][which]
    return follows if behind else place


def _with(content, place, *inserted, drop=0):
    return content[:place] + b"".join(inserted) + content[place + drop :]


def _restart(content, number):
    return content.index(bytes([255, 0xD0 + number]))


def _profile(size):
    pieces = [b"x" * 60_000] * (size // 60_000)
    return [_segment(0xE2, b"ICC_PROFILE\0" + bytes([k + 1, len(pieces)]) + piece) for k, piece in enumerate(pieces)]


START, END = 2, len(PLAIN) - 2
THUMBNAIL = _segment(0xE1, b"Exif\0\0MM\0*" + encoded(picture(8, 8, 1), "JPEG"))

WHOLE = {
    "fill bytes before markers": re.sub(rb"\xff(?=[\xc0\xc4\xda\xdb\xe0])", b"\xff\xff\xff", PLAIN[:-2])
    + b"\xff\xff\xff\xd9",
    "a page behind the end": PLAIN + b"<html>" * 9,
    "a picture behind the end": PLAIN + FILES["grey"],
    "half a picture behind the end": PLAIN + FILES["grey"][:300],
    "2 MB behind the end": PLAIN + b"\xff" * (2 << 20),
    "2 MB of colour profile": _with(PLAIN, START, *_profile(2 << 20)),
    "2 MB of comments": _with(PLAIN, START, *[_segment(0xFE, b"c" * 65_533)] * 32),
    "a thousand segments": _with(PLAIN, START, *[_segment(0xED, b"")] * 1000),
    "a thumbnail": _with(PLAIN, START, THUMBNAIL),
    "several pictures, as a camera says": _with(PLAIN, START, _segment(0xE2, b"MPF\0MM\0*" + bytes(40))) + PLAIN,
    "metadata that contradict themselves": _with(
        PLAIN,
        START,
        _segment(0xED, b"Photoshop 3.0\0008BIM"),
        _segment(0xE0, b"JFIF\0"),
        _segment(0xE1, b"Exif\0\0II*\0\xff\xff"),
        _segment(0xE2, b"ICC_PROFILE\0"),
        _segment(0xEE, b"Adobe"),
    ),
    "bytes between segments": _with(PLAIN, _at(PLAIN, 0xDB), b"\0\0some"),
    "a marker that does nothing": _with(PLAIN, _at(PLAIN, 0xDB), b"\xff\x01"),
    "bytes behind the last pixel": _with(PLAIN, END, bytes(200)),
    "a restart behind the last pixel": _with(RESTARTS, len(RESTARTS) - 2, b"\xff\xd5"),
    "an interval of 0": _with(PLAIN, _at(PLAIN, 0xDA), _segment(0xDD, b"\0\0")),
    "its height once more": _with(PLAIN, END, _segment(0xDC, b"\0\x1d")),
    "extended, of 8 bits": _with(PLAIN, _at(PLAIN, 0xC0), b"\xff\xc1", drop=2),
}


@pytest.mark.parametrize("name", list(WHOLE))
def test_a_picture_whose_pixels_are_whole_is_read(name):
    plain = RESTARTS if "restart" in name else PLAIN
    assert decode.pixels(WHOLE[name]).tolist() == _pillows(plain)


def test_the_metadata_that_tell_colours_are_heeded():
    marked = encoded(SOFT, "JPEG", quality=95, keep_rgb=True)  # an Adobe segment says that the components are RGB
    assert decode.pixels(marked).tolist() == _pillows(marked)
    assert np.abs(decode.pixels(marked).astype(int) - np.array(SOFT)).mean() < 5


SCANS = [k for k, segment in enumerate(segments(STEPS)) if segment[1] == 0xDA]


def _without(content, scan):
    place, _, behind = segments(content)[scan]
    return content[:place] + content[behind:]


DAMAGED = {
    "no end": (PLAIN[:-2], "it has no end marker"),
    "half an end": (PLAIN[:-1], "it has no end marker"),
    "a marker alone": (b"\xff\xd8\xff", "it has no end marker"),
    "a segment beyond the end": (PLAIN[:30], "it has no end marker"),
    "no picture": (b"\xff\xd8\xff\xd9", "it ends before its pixels do"),
    "no scan": (_without(PLAIN, -2), "it ends before its pixels do"),
    "a second start": (_with(PLAIN, _at(PLAIN, 0xDB), b"\xff\xd8"), "another picture begins before it ends"),
    "two frames": (
        _with(PLAIN, _at(PLAIN, 0xDA), PLAIN[_at(PLAIN, 0xC0) : _at(PLAIN, 0xC0, behind=True)]),
        "two frames",
    ),
    "no frame": (_with(PLAIN, _at(PLAIN, 0xC0), drop=19), "a scan comes before the frame"),
    "an unknown segment": (_with(PLAIN, _at(PLAIN, 0xDB), _segment(0xF0, b"")), "0xF0, which has no meaning"),
    "a marker among pixels": (_with(PLAIN, END - 20, b"\xff\x17"), "0x17, which has no meaning"),
    "a length of 1": (_with(PLAIN, START, b"\xff\xfe\0\1"), "it has no end marker"),
    "a frame too short": (
        _with(PLAIN, _at(PLAIN, 0xC0), _segment(0xC0, b"\x08\0\x10")),
        "header of its frame has a wrong",
    ),
    "no rows of pixels in a unit": (_with(PLAIN, _at(PLAIN, 0xC0) + 11, b"\x20", drop=1), "frame contradicts itself"),
    "a component twice": (_with(PLAIN, _at(PLAIN, 0xC0) + 13, b"\1", drop=1), "frame contradicts itself"),
    "no columns": (_with(PLAIN, _at(PLAIN, 0xC0) + 7, b"\0\0", drop=2), "it has 0 × 29 pixels"),
    "more rows than pixels": (_with(PLAIN, _at(PLAIN, 0xC0) + 5, b"\0\x40", drop=2), "not enough image data"),
    "more columns than pixels": (_with(PLAIN, _at(PLAIN, 0xC0) + 7, b"\0\x40", drop=2), "not enough image data"),
    "a scan of no component": (_with(PLAIN, _at(PLAIN, 0xDA) + 4, b"\0", drop=1), "contradicts that of the frame"),
    "a scan of a strange one": (_with(PLAIN, _at(PLAIN, 0xDA) + 5, b"\7", drop=1), "contradicts that of the frame"),
    "a scan of two": (_with(PLAIN, _at(PLAIN, 0xDA) + 2, b"\0\x0a\2", drop=3), "it ends before its pixels do"),
    "a component twice in a scan": (_with(PLAIN, _at(PLAIN, 0xDA) + 7, b"\1", drop=1), "a scan is repeated or missing"),
    "two scans of all": (PLAIN[:-2] + PLAIN[_at(PLAIN, 0xDA) :], "a scan is repeated or missing"),
    "a restart lost": (_with(RESTARTS, _restart(RESTARTS, 1), drop=2), "its restart markers do not fit"),
    "a restart twice": (_with(RESTARTS, _restart(RESTARTS, 1), b"\xff\xd1"), "its restart markers do not fit"),
    "two restarts too many": (
        _with(RESTARTS, len(RESTARTS) - 2, b"\xff\xd5\xff\xd6"),
        "do not fit (7 in a scan of 6 parts)",
    ),
    "restarts out of turn": (
        _with(RESTARTS, _restart(RESTARTS, 1), b"\xff\xd2", drop=2),
        "its restart markers do not fit",
    ),
    "restarts that nothing told of": (
        _with(RESTARTS, _at(RESTARTS, 0xDD), drop=6),
        "do not fit (5 in a scan of 0 parts)",
    ),
    "a restart in one scan": (_with(PLAIN, END - 300, b"\xff\xd0"), "do not fit (1 in a scan of 0 parts)"),
    "a part of the rows lost": (
        _with(RESTARTS, _restart(RESTARTS, 0), drop=_restart(RESTARTS, 1) - _restart(RESTARTS, 0)),
        "its restart markers do not fit",
    ),
    **{f"scan {k} of {len(SCANS)} lost": (_without(STEPS, scan), "is") for k, scan in enumerate(SCANS)},
    **{
        f"the scans from {k} on lost": (STEPS[: segments(STEPS)[scan][0]] + b"\xff\xd9", "it ends before its pixels do")
        for k, scan in enumerate(SCANS)
    },
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=list(DAMAGED))
def test_damage_is_named(content, message):
    reason = _reason(content)
    assert message in str(reason) and reason.do == "put a whole one in its place"


@pytest.mark.parametrize("name", [name for name in FILES if "progressive" not in name])
@pytest.mark.parametrize(
    "ending", [b"\xff\xd9", b"\xff\xff\xd9", b"\xff\xfe\0\4ok\xff\xd9"], ids=["", "filled", "comment"]
)
def test_a_file_cut_anywhere_and_closed_by_an_end_marker_is_refused(name, ending):
    """Up to the last 24 bytes: what libjpeg makes of 64 bits that are no code is at most the end of the last unit."""
    content = FILES[name]
    for place in range(_at(content, 0xDA) + 14, len(content) - 26, 3):
        if content[place - 1] != 255:
            assert str(_reason(content[:place] + ending)).startswith("is "), place


FRAME = _at(PLAIN, 0xC0)
OTHER_KINDS = {
    "lossless": _with(PLAIN, FRAME + 1, b"\xc3", drop=1),
    "hierarchical": _with(PLAIN, FRAME + 1, b"\xc5", drop=1),
    "arithmetic": _with(PLAIN, FRAME + 1, b"\xc9", drop=1),
    "arithmetic, with its tables": _with(_with(PLAIN, FRAME + 1, b"\xc9", drop=1), FRAME, _segment(0xCC, b"\0\x10")),
    "progressive and arithmetic": _with(STEPS, _at(STEPS, 0xC2) + 1, b"\xca", drop=1),
    "12 bits": _with(PLAIN, FRAME + 4, b"\x0c", drop=1),
    "height behind the pixels": _with(_with(PLAIN, FRAME + 5, b"\0\0", drop=2), END, _segment(0xDC, b"\0\x1d")),
    "two components": _with(PLAIN, FRAME, _segment(0xC0, b"\x08\0\x1d\0\x28\2" + b"\1\x11\0\2\x11\1"), drop=19),
}


@pytest.mark.parametrize("content", OTHER_KINDS.values(), ids=list(OTHER_KINDS))
def test_a_whole_file_of_another_kind_is_to_be_saved_anew(content):
    reason = _reason(content)
    assert str(reason).startswith("is no common JPEG (marker 0xC")
    assert reason.do == "save it anew as a baseline or progressive JPEG of 8 bits, or as PNG"
