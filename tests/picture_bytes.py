"""Picture files of many kinds, made byte by byte where Pillow writes none of the kind, and what befalls their bytes."""

import io
import itertools
import random
import struct
import zlib

import numpy as np
from drawn_pictures import picture
from PIL import Image

# First column and row of each pass of Adam7, and the steps between its pixels.
_PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def chunk(kind, content=b""):
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples, depth, colour, *, before=b"", interlaced=False, parts=1):
    """The bytes of a PNG of `samples` (H, W, channels): chunks `before` its pixels, and these in `parts` chunks."""
    header = struct.pack(">IIBBBBB", *samples.shape[1::-1], depth, colour, 0, 0, interlaced)
    stream = zlib.compress(rows(samples, depth, interlaced=interlaced))
    ends = [len(stream) * part // parts for part in range(parts + 1)]
    pixels = [chunk(b"IDAT", stream[start:end]) for start, end in itertools.pairwise(ends)]
    return png_of(chunk(b"IHDR", header), before, *pixels, chunk(b"IEND"))


def png_of(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def rows(samples, depth, *, interlaced=False):
    """The bytes that a PNG compresses, row after row with each of the five filters in turn."""
    done = []
    for x, y, across, down in _PASSES if interlaced else [(0, 0, 1, 1)]:
        part = samples[y::down, x::across]
        packed = [_packed(row.flatten(), depth) for row in part] if part.size else []
        back = max(1, samples.shape[2] * depth // 8)
        for k, row in enumerate(packed):
            done.append(_filtered(k % 5, row, packed[k - 1] if k else bytes(len(row)), back))
    return b"".join(done)


def _packed(samples, depth):
    bits = "".join(f"{sample:0{depth}b}" for sample in samples)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8)


def _filtered(kind, row, above, back):
    coded = [kind]
    for i, value in enumerate(row):
        left, up = row[i - back] if i >= back else 0, above[i]
        corner = above[i - back] if i >= back else 0
        nearest = min((left, up, corner), key=lambda candidate: abs(left + up - corner - candidate))
        coded.append((value - (0, left, up, (left + up) // 2, nearest)[kind]) % 256)
    return bytes(coded)


def encoded(image, kind, **options):
    """The bytes of a file as Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pngs():
    """Files by kind."""
    draw, soft = np.random.default_rng(5), picture(28, 21, 5)
    deep, few = draw.integers(0, 1 << 16, (9, 11, 3)), draw.integers(0, 9, (21, 28, 1))
    palette = chunk(b"PLTE", draw.bytes(27)) + chunk(b"tRNS", draw.bytes(5)) + chunk(b"tEXt", b"Comment\0none")
    return {
        "RGB": encoded(soft, "PNG"),
        "RGBA": encoded(soft.convert("RGBA"), "PNG"),
        "grey": encoded(soft.convert("L"), "PNG"),
        "grey and alpha": encoded(soft.convert("LA"), "PNG"),
        "black and white": encoded(soft.convert("1"), "PNG"),
        "palette": encoded(soft.quantize(40), "PNG"),
        "palette of 4 bits": png(few, 4, 3, before=palette),
        "16 bits": png(deep, 16, 2),
        "grey of 16 bits": png(deep[..., :1], 16, 0, parts=4),
        "interlaced": png(np.array(soft), 8, 2, interlaced=True, parts=3),
        "interlaced palette": png(few, 4, 3, before=palette, interlaced=True),
    }


def jpegs(width=40, height=29):
    """Files by kind."""
    soft, exif = picture(width, height, 5), Image.Exif()
    exif[0x010E] = "a picture of nothing in particular"
    return {
        "RGB": encoded(soft, "JPEG", quality=85),
        "4:2:0": encoded(soft, "JPEG", quality=60, subsampling=2, exif=exif, comment=b"none"),
        "grey": encoded(soft.convert("L"), "JPEG", quality=85),
        "CMYK": encoded(soft.convert("CMYK"), "JPEG", quality=85),
        "own tables": encoded(soft, "JPEG", quality=85, optimize=True),
        "restarts": encoded(soft, "JPEG", quality=85, restart_marker_rows=1),
        "progressive": encoded(soft, "JPEG", quality=85, progressive=True),
        "progressive, restarts": encoded(soft, "JPEG", quality=85, progressive=True, restart_marker_blocks=3),
    }


def segments(content):
    """Of a whole JPEG, (place, marker, place of what follows) of each segment; that of the end marker is last."""
    place, rows = 2, []
    while content[place + 1] != 0xD9:
        marker, behind = content[place + 1], place + 2 + int.from_bytes(content[place + 2 : place + 4])
        if marker == 0xDA:
            while content[behind] != 0xFF or content[behind + 1] == 0 or 0xD0 <= content[behind + 1] <= 0xD7:
                behind += 1
        rows.append((place, marker, behind))
        place = behind
    return [*rows, (place, 0xD9, place + 2)]


def parts_of_jpeg(content):
    """What each byte of a whole JPEG belongs to."""
    names = {0xC0: "headers", 0xC2: "headers", 0xDD: "headers", 0xC4: "tables", 0xDB: "tables"}
    names |= {0xE0: "colours", 0xEE: "colours"}
    parts = ["start and end"] * 2
    for place, marker, behind in segments(content)[:-1]:
        body = behind - place - 4
        header = int.from_bytes(content[place + 2 : place + 4]) - 2 if marker == 0xDA else 0
        name = "coded pixels" if marker == 0xDA else names.get(marker, "metadata")
        parts += ["markers and lengths"] * 4 + ["headers"] * header + [name] * (body - header)
    return parts + ["start and end"] * 2


def flip(content, place, draw):
    """One bit."""
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


def cut(content, place, _draw):
    return content[:place]


def zeros(content, place, _draw):
    return content[:place] + bytes(len(content) - place)


def damages(files, count, seed):
    """`count` times: the name of a file, what was done at which place, and the bytes that are left."""
    draw, names = random.Random(seed), list(files)
    for turn in range(count):
        name, harm = names[turn % len(names)], draw.choice([flip, flip, cut, zeros])
        place = draw.randrange(len(files[name]))
        yield name, harm, place, harm(files[name], place, draw)
