"""PNG: every kind is read; whatever the format lets one verify is verified; what pixels do not need is passed over."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from drawn_pictures import picture
from picture_bytes import CHANNELS, DEPTHS, chunk, png, png_of, pngs, rows
from PIL import Image, PngImagePlugin

from coupled.data import decode
from coupled.data.unfit import Unfit

SIZES = [(1, 1), (2, 1), (1, 3), (3, 5), (5, 2), (8, 8), (9, 13)]
KINDS = [(depth, colour) for colour, depths in DEPTHS.items() for depth in depths]
SOFT = np.array(picture(12, 7, 5))


def _read(content):
    return decode.pixels(content).tolist()


def _expected(samples, depth, colour, palette):
    """RGB of `samples` (H, W, channels): the high eight bits, or fewer spread over 0 … 255."""
    if colour == 3:
        return palette[samples[..., 0]].tolist()
    eight = samples >> 8 if depth == 16 else samples * 255 // (2**depth - 1)
    grey = colour in (0, 4)
    return (np.repeat(eight[..., :1], 3, axis=2) if grey else eight[..., :3]).tolist()


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("depth", "colour"), KINDS)
def test_every_kind_is_read(depth, colour, interlaced):
    draw = np.random.default_rng(depth + colour)
    palette = draw.integers(0, 256, (2 ** min(depth, 8), 3), dtype=np.uint8)
    before = chunk(b"PLTE", palette.tobytes()) if colour == 3 else b""
    for width, height in SIZES:
        samples = draw.integers(0, 2**depth, (height, width, CHANNELS[colour]))
        content = png(samples, depth, colour, before=before, interlaced=interlaced)
        assert _read(content) == _expected(samples, depth, colour, palette), (width, height)


@pytest.mark.parametrize("name", list(pngs()))
def test_pillows_own_reader_sees_the_same_pixels(name, tmp_path):
    (tmp_path / "x.png").write_bytes(pngs()[name])
    with Image.open(tmp_path / "x.png") as image:
        if image.mode == "I;16":  # Pillow 13 scales where 12 clips
            expected = np.repeat(np.asarray(image)[..., None] >> 8, 3, axis=2).tolist()
        else:
            image.info.pop("transparency", None)
            expected = np.array(image.convert("RGB")).tolist()
    assert _read(pngs()[name]) == expected


# Whole pictures in unusual files.

HEADER = chunk(b"IHDR", struct.pack(">IIBBBBB", 12, 7, 8, 2, 0, 0, 0))
ROWS = rows(SOFT, 8)
STREAM = zlib.compress(ROWS)
PIXELS, END = chunk(b"IDAT", STREAM), chunk(b"IEND")
BOMB = zlib.compress(bytes(2 << 20), 9)
WRONG = b"\0\0\0\0"

WHOLE = {
    "a byte in each chunk": png(SOFT, 8, 2, parts=len(STREAM)),
    "empty chunks": png_of(HEADER, chunk(b"IDAT"), PIXELS, chunk(b"IDAT"), END),
    "text between pixels": png_of(
        HEADER, chunk(b"IDAT", STREAM[:40]), chunk(b"tEXt"), chunk(b"IDAT", STREAM[40:]), END
    ),
    "bytes behind the stream": png_of(HEADER, chunk(b"IDAT", STREAM + b"more"), END),
    "bytes behind the end": png_of(HEADER, PIXELS, END, b"<html>"),
    "no end": png_of(HEADER, PIXELS),
    "a torn end": png_of(HEADER, PIXELS, b"\0\0\0\0IE"),
    "zeros behind the pixels": png_of(HEADER, PIXELS, bytes(50)),
    "damaged text": png_of(HEADER, chunk(b"tEXt", b"a\0b")[:-4], WRONG, PIXELS, END),
    "damaged text behind the pixels": png_of(HEADER, PIXELS, b"\0\0\0\2tEXtab", WRONG, END),
    "a palette that is only advice": png_of(HEADER, chunk(b"PLTE", bytes(9)), PIXELS, END),
    "a colour for transparent": png_of(HEADER, chunk(b"tRNS", bytes(6)), PIXELS, END),
    "a stored stream": png_of(HEADER, chunk(b"IDAT", zlib.compress(ROWS, 0)), END),
    "much text, compressed": png_of(HEADER, chunk(b"zTXt", b"a\0\0" + BOMB), PIXELS, END),
    "much international text": png_of(HEADER, chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB), PIXELS, END),
    "a large colour profile": png_of(HEADER, chunk(b"iCCP", b"a\0\0" + BOMB), PIXELS, END),
    "much plain text": png_of(HEADER, chunk(b"tEXt", b"a\0" + b"b" * (2 << 20)), PIXELS, END),
    "text as in 70 MB": png_of(HEADER, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20)))] * 70, PIXELS, END),
    "a large Exif": png_of(HEADER, chunk(b"eXIf", b"MM\0*" + bytes(3 << 20)), PIXELS, END),
    "many small chunks": png_of(HEADER, chunk(b"tIME", bytes(7)) * 9999, PIXELS, END),
    "metadata that contradict themselves": png_of(HEADER, chunk(b"gAMA"), chunk(b"pHYs"), chunk(b"tRNS"), PIXELS, END),
    "the first picture of an animation": png_of(
        HEADER,
        chunk(b"acTL", struct.pack(">II", 2, 0)),
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 12, 7, 0, 0, 1, 1, 0, 0)),
        PIXELS,
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 12, 7, 0, 0, 1, 1, 0, 0)),
        chunk(b"fdAT", b"\0\0\0\2" + zlib.compress(bytes(len(ROWS)))),
        END,
    ),
}


@pytest.mark.parametrize("content", WHOLE.values(), ids=list(WHOLE))
def test_a_picture_whose_pixels_are_whole_is_read(content):
    assert _read(content) == SOFT.tolist()


def test_pillow_would_refuse_much_metadata_or_warn_of_it():
    """What keeps the cases above from being tests of nothing."""
    assert len(BOMB) + len(STREAM) < 5000 and PngImagePlugin.MAX_TEXT_CHUNK < 2 << 20 < PngImagePlugin.MAX_TEXT_MEMORY
    assert PngImagePlugin.MAX_TEXT_MEMORY < 70 << 20


# Damage, each with checksums that are right unless they are what is wrong.


def _header(width=12, height=7, *, depth=8, colour=2, rest=(0, 0, 0)):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, *rest))


def _palette(length, *, most=3):
    samples = np.arange(84).reshape(7, 12, 1) % (most + 1)
    return png(samples, 8, 3, before=chunk(b"PLTE", bytes(length)) if length else b"")


DAMAGED = {
    "rows missing": (png_of(HEADER, chunk(b"IDAT", zlib.compress(ROWS[:-37])), END), "its pixel data end early"),
    "a byte missing": (png_of(HEADER, chunk(b"IDAT", zlib.compress(ROWS[:-1])), END), "its pixel data end early"),
    "a row too many": (png_of(HEADER, chunk(b"IDAT", zlib.compress(ROWS + ROWS[:37])), END), "its pixel data end late"),
    "a bomb of pixels": (png_of(HEADER, chunk(b"IDAT", zlib.compress(bytes(9 << 20))), END), "its pixel data end late"),
    "no end of the stream": (png_of(HEADER, chunk(b"IDAT", STREAM[:-4]), END), "its pixel data end early"),
    "wrong sum of the stream": (png_of(HEADER, chunk(b"IDAT", STREAM[:-1] + b"?"), END), "incorrect data check"),
    "no stream": (png_of(HEADER, chunk(b"IDAT", b"<html>"), END), "its pixels cannot be inflated"),
    "a wrong filter": (
        png_of(HEADER, chunk(b"IDAT", zlib.compress(b"\5" + ROWS[1:])), END),
        "cannot decode image data",
    ),
    "no pixels": (png_of(HEADER, END), "its pixel data end early"),
    "a chunk of pixels missing": (png_of(HEADER, chunk(b"IDAT", STREAM[:99]), END), "its pixel data end early"),
    "the first of them missing": (png_of(HEADER, chunk(b"IDAT", STREAM[99:]), END), "its pixels cannot be inflated"),
    "too narrow": (png_of(_header(11), PIXELS, END), "its pixel data end late"),
    "too high": (png_of(_header(12, 8), PIXELS, END), "its pixel data end early"),
    "no width": (png_of(_header(0), PIXELS, END), "it has 0 × 7 pixels"),
    "wrong sum of the header": (
        png_of(HEADER[:-4], WRONG, PIXELS, END),
        "checksum of its chunk IHDR at byte 8 is wrong",
    ),
    "wrong sum of the pixels": (png_of(HEADER, PIXELS[:-4], WRONG, END), "checksum of its chunk IDAT at byte 33 is"),
    "wrong sum of the transparency": (png_of(HEADER, chunk(b"tRNS")[:-4], WRONG, PIXELS), "checksum of its chunk tRNS"),
    "wrong sum of a palette": (
        _palette(12).replace(chunk(b"PLTE", bytes(12)), chunk(b"PLTE", bytes(12))[:-1] + b"?"),
        "PLTE",
    ),
    "no palette": (_palette(0), "its palette has 0 bytes"),
    "half a colour": (_palette(13), "its palette has 13 bytes"),
    "too many colours": (_palette(771), "its palette has 771 bytes"),
    "a colour that is not there": (_palette(9), "it uses colour 3 of a palette of 3"),
    "the palette too late": (
        png_of(_header(colour=3), PIXELS, chunk(b"PLTE", bytes(768)), END),
        "its pixel data end late",
    ),
    "cut in a chunk": (png_of(HEADER, PIXELS[:-1]), "is cut short"),
    "cut in a chunk's head": (png_of(HEADER, PIXELS[:7]), "is cut short"),
    "a length beyond the end": (png_of(HEADER, b"\x7f\xff\xff\xffIDAT", STREAM), "is cut short"),
    "a signature alone": (png_of(), "is cut short"),
    "no chunk": (png_of(HEADER, b"\0\0\0\4<p> ", WRONG, PIXELS), "no chunk begins at byte 33"),
}


def _reason(content):
    with pytest.raises(Unfit) as error:
        decode.pixels(content)
    return error.value


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=list(DAMAGED))
def test_damage_is_named(content, message):
    reason = _reason(content)
    assert message in str(reason) and reason.do == "put a whole one in its place"


def test_no_more_is_inflated_than_the_header_says():
    bomb = png_of(HEADER, chunk(b"IDAT", zlib.compress(bytes(32 << 20))), END)
    tracemalloc.start()
    try:
        _reason(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


OTHER_KINDS = {
    "a bit depth that is none": png_of(_header(depth=3), PIXELS, END),
    "a colour type that is none": png_of(_header(colour=5), PIXELS, END),
    "another compression": png_of(_header(rest=(1, 0, 0)), PIXELS, END),
    "other filters": png_of(_header(rest=(0, 1, 0)), PIXELS, END),
    "another order of rows": png_of(_header(rest=(0, 0, 2)), PIXELS, END),
    "pixels before the header": png_of(PIXELS, HEADER, END),
    "Apple's own": png_of(chunk(b"CgBI", bytes(4)), HEADER, PIXELS, END),
    "a chunk that must be understood": png_of(HEADER, chunk(b"JDAT", b"?"), PIXELS, END),
}


@pytest.mark.parametrize("content", OTHER_KINDS.values(), ids=list(OTHER_KINDS))
def test_a_whole_file_of_another_kind_is_to_be_saved_anew(content):
    reason = _reason(content)
    assert str(reason).startswith("is no common PNG (") and reason.do == "save it anew as JPEG or PNG"
