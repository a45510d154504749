"""Decoding: every mode becomes RGB, damage is named, evaluation agrees with torchvision."""

import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_pictures import picture, save
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_bytes import chunk, encoded, png_of
from PIL import Image
from torchvision.transforms.v2 import functional

from coupled.data import decode
from coupled.data.unfit import Unfit
from coupled.errors import RunStopped


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_becomes_rgb_as_pillow_does_it(tmp_path, mode):
    image = picture(20, 12, 3, "RGB").quantize(9) if mode == "P" else picture(20, 12, 3, mode)
    image.save(tmp_path / "x.png")
    pixels = decode.decode(tmp_path / "x.png")
    assert pixels.shape == (3, 12, 20) and pixels.dtype == torch.uint8
    assert pixels.permute(1, 2, 0).tolist() == np.array(image.convert("RGB")).tolist()


def test_transparent_palettes_are_looked_up_in_silence(tmp_path):
    image = picture(20, 12, 3).quantize(9)
    image.save(tmp_path / "x.png", transparency=bytes([0, 128, 255]))
    expected = np.array(image.convert("RGB"))
    assert decode.decode(tmp_path / "x.png").permute(1, 2, 0).tolist() == expected.tolist()


def test_cmyk_jpegs_become_rgb(tmp_path):
    picture(24, 16, 1, "CMYK").save(tmp_path / "x.jpg", quality=95)
    expected = np.array(picture(24, 16, 1)).astype(int)
    assert np.abs(decode.decode(tmp_path / "x.jpg").permute(1, 2, 0).numpy() - expected).mean() < 12  # lossy


def test_of_sixteen_bits_the_high_ones_are_kept(tmp_path):
    grey = np.arange(0, 65536, 331, dtype=np.uint16)[:198].reshape(11, 18)
    Image.fromarray(grey).save(tmp_path / "x.png")
    assert decode.decode(tmp_path / "x.png").tolist() == [(grey >> 8).tolist()] * 3


def test_orientation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "x.jpg", 0, (40, 20), exif=exif)
    assert decode.decode(tmp_path / "x.jpg").shape == (3, 20, 40)


def _png(width, height, body=b""):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return png_of(header, chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND"))


JPEG, PNG = encoded(picture(40, 30, 5), "JPEG"), encoded(picture(40, 30, 5), "PNG")
DAMAGED = Path(__file__).parent / "damaged_pictures"
WHOLE, SMALLER = "put a whole one in its place", "put a smaller one in its place"
ANEW = "save it anew as JPEG or PNG"

REFUSED = {
    "nothing": (b"", "is empty", WHOLE),
    "a text": (b"<html>not found</html>", "is neither JPEG nor PNG", WHOLE),
    "zeros": (bytes(500), "is neither JPEG nor PNG", WHOLE),
    "a GIF": (encoded(picture(40, 30, 5), "GIF"), "is neither JPEG nor PNG but GIF", ANEW),
    "a BMP": (encoded(picture(40, 30, 5), "BMP"), "is neither JPEG nor PNG but BMP", ANEW),
    "a WebP": (b"RIFF\0\0\0\0WEBPVP8 ", "is neither JPEG nor PNG but WebP", ANEW),
    "a HEIC": (b"\0\0\0\x18ftypheic", "is neither JPEG nor PNG but HEIC", ANEW),
    "a TIFF": (b"MM\0*\0\0\0\x08", "is neither JPEG nor PNG but TIFF", ANEW),
    "half a JPEG": (JPEG[:700], "is cut short", WHOLE),
    "half a PNG": (PNG[:-900], "is cut short", WHOLE),
    "a header": (JPEG[:12], "is cut short", WHOLE),
    "no pixels": (_png(0, 5), "is damaged: it has 0 × 5 pixels", WHOLE),
    "too many pixels": (
        _png(9000, 9000),
        "has 9000 × 9000 pixels, at most 65500 a side and 64000000 in all are read",
        SMALLER,
    ),
    "a bomb": (_png(60_000, 60_000), "has 60000 × 60000 pixels", SMALLER),
    "too long": (_png(65_501, 1, bytes(65_502)), "has 65501 × 1 pixels", SMALLER),
    "flip_idat.png": (None, "is damaged: the checksum of its chunk IDAT", WHOLE),
    "flip_natural.png": (None, "is damaged: the checksum of its chunk IDAT", WHOLE),
    "zerotail_big.png": (None, "is damaged: the checksum of its chunk IDAT", WHOLE),
    "half_zeros.png": (None, "is damaged: the checksum of its chunk IDAT", WHOLE),
    "short_rows.png": (None, "is damaged: its pixel data end early", WHOLE),
    "half_zeros.jpg": (None, "is cut short: it has no end marker", WHOLE),
    "half_html.jpg": (None, "is cut short: it has no end marker", WHOLE),
    "trunc_half_eoi.jpg": (None, "is damaged: its pixels cannot be decoded", WHOLE),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_an_image_that_is_not_read_stops_the_run_and_is_named(tmp_path, name):
    content, fault, do = REFUSED[name]
    (tmp_path / "x.jpg").write_bytes((DAMAGED / name).read_bytes() if content is None else content)
    with pytest.raises(RunStopped) as error:
        decode.decode(tmp_path / "x.jpg")
    line = str(error.value)
    assert line.startswith(f"image file {tmp_path}/x.jpg {fault}") and line.endswith(f"; {do}") and line.isprintable()


@pytest.mark.parametrize("name", ["text_2mb.png", "iccp_2mb.png"])
def test_a_picture_with_much_metadata_is_read(name):
    """The chunk of text or colour profile inflates to 2 MB, which Pillow refuses."""
    with pytest.raises(ValueError, match="MAX_TEXT_CHUNK"):
        Image.open(DAMAGED / name)
    assert decode.decode(DAMAGED / name).shape == (3, 48, 64)


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(PNG)
    os.truncate(path, 512_000_001)  # a hole: it takes no room on disk
    with pytest.raises(
        RunStopped, match="has 512000001 bytes, at most 512000000 are read; put a smaller one in its place"
    ):
        decode.decode(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path, why in ((tmp_path / "x.png", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(RunStopped, match=f"image file {path} cannot be read .{why}.; make it readable"):
            decode.decode(path)


def test_a_picture_that_does_not_fit_in_memory_is_not_called_damaged(monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr(Image, "frombytes", exhausted)
    for content in (JPEG, PNG):
        with pytest.raises(Unfit, match="needs more memory than there is"):
            decode.pixels(content)


@pytest.mark.parametrize("whole", [JPEG, PNG], ids=["JPEG", "PNG"])
def test_any_damage_is_decoded_or_named(tmp_path, whole):
    """No other exception, no warning, whatever bytes are overwritten or cut."""
    draw, path, named = random.Random(7), tmp_path / "x", 0
    for _ in range(300):
        content = bytearray(whole[: draw.choice([len(whole), draw.randrange(len(whole))])])
        for place in draw.choices(range(len(content)), k=draw.choice([0, 1, 4])) if content else ():
            content[place] = draw.randrange(256)
        path.write_bytes(content)
        try:
            assert decode.decode(path).dtype == torch.uint8
        except RunStopped as error:
            named += 1
            assert str(path) in str(error) and str(error).isprintable()
    assert named > 100


# Evaluation.


@settings(max_examples=25, deadline=None)
@given(width=st.integers(2, 90), height=st.integers(2, 90), size=st.sampled_from([20, 64, 128, 140]))
def test_evaluation_resizes_and_cuts_as_torchvision(width, height, size):
    pixels = torch.from_numpy(np.array(picture(width, height, width))).permute(2, 0, 1)
    short = {20: 20, 64: 64, 128: 146, 140: 160}[size]
    resized = functional.resize(pixels.double() / 255, [short], antialias=True)
    expected = functional.center_crop(resized, [size, size])
    # In float64 torchvision's rounding is out of the way: ours is that of float32 weights, products and sums.
    assert float((decode.evaluation_view(pixels, size) - expected).abs().max()) < 4e-7


def test_evaluation_at_224_px_agrees_with_torchvision_in_float32():
    pixels = torch.from_numpy(np.array(picture(500, 375, 2))).permute(2, 0, 1)
    expected = functional.center_crop(functional.resize(pixels / 255, [256], antialias=True), [224, 224])
    # torchvision rounds the scale to float32, which moves its filter's centres.
    assert float((decode.evaluation_view(pixels, 224) - expected).abs().max()) < 8e-6


def test_an_image_of_the_size_asked_for_is_itself():
    pixels = torch.from_numpy(np.array(picture(64, 64, 2))).permute(2, 0, 1)
    assert torch.equal(decode.evaluation_view(pixels, 64), pixels / 255)


def test_of_a_very_long_image_the_middle_is_looked_at():
    pixels = torch.zeros(3, 1, 65_500, dtype=torch.uint8)
    pixels[..., 32_750] = 255
    view = decode.evaluation_view(pixels, 224)
    assert torch.equal(view, decode.evaluation_view(pixels[..., 32_718:32_782], 224)) and float(view.max()) > 0.9
    assert decode.evaluation_view(pixels.mT, 20).shape == (3, 20, 20)
