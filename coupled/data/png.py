"""PNG: what the format offers to tell a whole file from a damaged one is checked, and Pillow undoes the filters.

A PNG is a row of chunks, each with a checksum. The pixels are one zlib stream spread over the `IDAT` chunks; it ends in
a checksum of its own, and the header tells how many bytes it inflates to. Pillow checks none of these three. So the
stream is inflated here, once: Pillow gets the bytes as a zlib stream whose blocks are stored, which takes next to no
time to read. Metadata may be of any length, and nothing behind the pixels is read.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from coupled.data.unfit import ANOTHER_KIND, Unfit, check_size

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# By bit depth and colour type, all that there are: Pillow's mode, its name for the bytes in the file, bits a pixel.
_KINDS = {
    (1, 0): ("1", "1", 1),
    (2, 0): ("L", "L;2", 2),
    (4, 0): ("L", "L;4", 4),
    (8, 0): ("L", "L", 8),
    (16, 0): ("L", "L;16B", 16),
    (8, 2): ("RGB", "RGB", 24),
    (16, 2): ("RGB", "RGB;16B", 48),
    (1, 3): ("P", "P;1", 1),
    (2, 3): ("P", "P;2", 2),
    (4, 3): ("P", "P;4", 4),
    (8, 3): ("P", "P", 8),
    (8, 4): ("LA", "LA", 16),
    (16, 4): ("RGBA", "LA;16B", 32),
    (8, 6): ("RGBA", "RGBA", 32),
    (16, 6): ("RGBA", "RGBA;16B", 64),
}
# First column and row, and the steps between them, of Adam7's passes.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_BLOCK = 65_535  # the most that a stored block of a zlib stream holds


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    mode: str
    raw: str  # Pillow's name for the bytes in the file
    bits: int  # of a pixel
    interlaced: bool

    @property
    def inflated(self) -> int:
        """How many bytes the pixels inflate to: rows of whole bytes, each with a byte that names its filter."""
        passes = _PASSES if self.interlaced else ((0, 0, 1, 1),)
        sizes = [((self.width - x + dx - 1) // dx, (self.height - y + dy - 1) // dy) for x, y, dx, dy in passes]
        return sum(rows * (1 + (columns * self.bits + 7) // 8) for columns, rows in sizes if columns)


def image(content: bytes) -> Image.Image:
    """The picture that a PNG file's bytes show, of mode 1, L, LA, P, RGB or RGBA; Unfit if they are damaged."""
    header, palette, pixels = _parts(content)
    picture = Image.frombytes(
        header.mode, (header.width, header.height), pixels, "zip", header.raw, int(header.interlaced)
    )
    if header.mode == "P":
        last = int(np.asarray(picture).max())
        if last >= len(palette) // 3:
            raise Unfit(f"is damaged: it uses colour {last} of a palette of {len(palette) // 3}")
        picture.putpalette(palette)
    return picture


def _parts(content: bytes) -> tuple[_Header, bytes, bytes]:
    """Header, palette (b"" if there is none) and the filtered rows as a zlib stream, each checked."""
    header, palette, rows, checksum = None, b"", [], b""
    stream, room = zlib.decompressobj(), 0
    for kind, data in _chunks(content):
        if header is None:
            header = _header(kind, data)
            room = header.inflated
        elif kind == b"PLTE":
            palette = bytes(data)
        elif kind == b"IDAT":
            rows.append(_inflated(stream, data, room + 1))
            room -= len(rows[-1])
            read = bytes(data[: len(data) - len(stream.unused_data)])
            checksum = (checksum + read[-4:])[-4:]  # what the stream ends in
            if stream.eof or room < 0:
                break
        elif kind == b"IEND":
            break
        elif kind[:1].isupper():
            raise Unfit(f"is no common PNG (it holds a chunk {kind.decode()} that must be understood)", ANOTHER_KIND)
    assert header is not None, "the first chunk made one"
    if room or not stream.eof:
        raise Unfit(f"is damaged: its pixel data end {'late' if room < 0 else 'early'}")
    if header.mode == "P" and not (0 < len(palette) <= 768 and len(palette) % 3 == 0):
        raise Unfit(f"is damaged: its palette has {len(palette)} bytes")
    return header, palette, b"".join(_stored(rows, checksum))


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Type and data of one chunk after another; Unfit where no chunk begins, or its checksum is not that of its bytes.

    The checksum of metadata is not checked: pixels do not need them.
    """
    view, start = memoryview(content), len(SIGNATURE)
    while start + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + 8 + length
        if not kind.isalpha():
            raise Unfit(f"is damaged: no chunk begins at byte {start}")
        if end + 4 > len(content):
            break
        if kind[:1].isupper() or kind == b"tRNS":
            (checksum,) = struct.unpack_from(">I", content, end)
            if zlib.crc32(view[start + 4 : end]) != checksum:
                raise Unfit(f"is damaged: the checksum of its chunk {kind.decode()} at byte {start} is wrong")
        yield kind, view[start + 8 : end]
        start = end + 4
    raise Unfit("is cut short: it ends before its pixels do")


def _header(kind: bytes, data: memoryview) -> _Header:
    if kind != b"IHDR" or len(data) != 13:
        raise Unfit(f"is no common PNG (it begins with a chunk {kind.decode()} of {len(data)} bytes)", ANOTHER_KIND)
    width, height, depth, colour, compression, filters, interlaced = struct.unpack(">IIBBBBB", data)
    if (depth, colour) not in _KINDS or compression or filters or interlaced > 1:
        stored = f"bit depth {depth}, colour type {colour}, methods {compression}, {filters} and {interlaced}"
        raise Unfit(f"is no common PNG ({stored})", ANOTHER_KIND)
    check_size(width, height)
    return _Header(width, height, *_KINDS[depth, colour], interlaced == 1)


def _inflated(stream: "zlib._Decompress", data: memoryview, most: int) -> bytes:
    try:
        return stream.decompress(data, most)
    except zlib.error as error:
        raise Unfit(f"is damaged: its pixels cannot be inflated ({error})") from error


def _stored(rows: Iterable[bytes], checksum: bytes) -> Iterator[bytes | memoryview]:
    """A zlib stream of stored blocks that holds `rows` end to end."""
    yield b"\x78\x01"
    for part in map(memoryview, rows):
        for start in range(0, len(part), _BLOCK):
            block = part[start : start + _BLOCK]
            yield struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF)
            yield block
    yield struct.pack("<BHH", 1, 0, 0xFFFF)
    yield checksum
