"""JPEG: what the format offers to tell a whole file from a damaged one is checked, and Pillow decodes the pixels.

A JPEG file is a row of *segments* between a start and an end marker. It has no checksum.

    marker     the byte 255 and a number that says what follows
    segment    a marker, the length of its body (two bytes, which count themselves), and its body: a header, tables,
               metadata. A few markers stand alone: start, end, restart
    frame      the segment that gives the picture's size and its *components*: brightness and two of colour, or inks
    unit       the smallest piece that is coded by itself: 8 × 8 samples of one component, as 64 *coefficients*
    scan       a segment, and behind it coded pixels up to the next segment, of one component or several together.
               A baseline file has all of a component in one scan. A *progressive* file brings some
               coefficients in each scan, or the next lower bit of those that earlier scans brought
    restarts   markers among the coded pixels, one after every so many units (the *interval*), numbered 0 to 7 in turn

Where a file ends early, libjpeg fills the rest with grey and warns; Pillow does not pass the warning on. So this module
walks through the segments first: the scans must bring every coefficient, each with as many restart markers as its units
need. Metadata may be of any length. What lies behind the last scan is not given to libjpeg: some cameras put a second
picture there.

Where one scan holds all pixels, as in most files, libjpeg does not get the end marker either, but bits that are no
code. If pixels are missing, Pillow then asks for more bytes and fails; with the end marker libjpeg would fill them up.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from coupled.data.unfit import Unfit, check_size

SIGNATURE = b"\xff\xd8\xff"

# Among coded pixels a byte 255 is followed by 0, so it is no marker. Before a marker there may be any number of 255.
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
# Markers that stand alone. The last of them has no meaning, and libjpeg passes over it.
_START, _END, _RESTARTS, _IDLE = 0xD8, 0xD9, bytes(range(0xD0, 0xD8)), 0x01
# Markers of segments.
_SCAN, _INTERVAL, _PROGRESSIVE_FRAME = 0xDA, 0xDD, 0xC2
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xDE}  # lossless, hierarchical, arithmetic
_FRAMES = {0xC0, 0xC1, _PROGRESSIVE_FRAME} | _OTHER_FRAMES
_KNOWN = _FRAMES | {_SCAN, _INTERVAL, 0xC4, 0xCC, 0xDB, 0xDC, *range(0xE0, 0xF0), 0xFE}  # and tables, metadata

_MODES = {1: ("L", "L"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK;I")}  # by components; the inks are stored inverted
_NO_CODE = b"\xff\x00" * 8  # no code is all ones; libjpeg reads up to 64 bits ahead
_ALL_BITS = 255  # of a coefficient: no scan has brought any of it
_ANOTHER = "save it anew as a baseline or progressive JPEG of 8 bits, or as PNG"


@dataclass(frozen=True)
class _Segment:
    """A segment. `end`: where it ends in the file, coded pixels included; `restarts`: the restart markers among these,
    a byte each.
    """

    marker: int
    body: bytes
    end: int
    restarts: bytes


class _Frame:
    """What the frame says, and how much of its coefficients the scans have brought so far.

    By the number of each component: `factors`, how many samples it has across and down where others have theirs;
    `missing`, how many low bits of each of its 64 coefficients are still to come (`_ALL_BITS` before the first scan).
    """

    def __init__(self, segment: _Segment) -> None:
        body, self.progressive = segment.body, segment.marker == _PROGRESSIVE_FRAME
        if len(body) < 6 or len(body) != 6 + 3 * body[5]:
            raise Unfit("is damaged: the header of its frame has a wrong length")
        bits, self.height, self.width, components = struct.unpack_from(">BHHB", body)
        if segment.marker in _OTHER_FRAMES or bits != 8 or components not in _MODES or not self.height:
            kind = f"marker 0x{segment.marker:X}, {bits} bits, {components} components, {self.height} rows"
            raise Unfit(f"is no common JPEG ({kind})", _ANOTHER)
        check_size(self.width, self.height)
        self.factors = {body[k]: divmod(body[k + 1], 16) for k in range(6, len(body), 3)}
        if len(self.factors) < components or any(not 1 <= n <= 4 for pair in self.factors.values() for n in pair):
            raise Unfit("is damaged: the header of its frame contradicts itself")
        self.missing = {component: bytearray([_ALL_BITS] * 64) for component in self.factors}

    @property
    def complete(self) -> bool:
        """Have the scans brought every bit of every coefficient?"""
        return not any(map(any, self.missing.values()))

    def take(self, scan: _Segment, interval: int) -> None:
        """Count what a scan brings; `interval`: units between two restart markers, 0 for none.

        Unfit unless it goes on where the scans before it ended, and has the restart markers that it should have.
        """
        components, first, last, bits_before, bits_left = self._header(scan.body)
        for component in components:
            missing = self.missing[component]
            if any(bits != bits_before for bits in missing[first : last + 1]):
                raise Unfit("is damaged: a scan is repeated or missing")
            missing[first : last + 1] = bytes([bits_left] * len(missing[first : last + 1]))
        parts = -(-self._units(components) // interval) if interval else 0
        expected = (_RESTARTS * (parts // 8 + 1))[:parts]
        if scan.restarts not in (expected[:-1], expected):  # some encoders write one behind the last part too
            counts = f"{len(scan.restarts)} in a scan of {parts} parts"
            raise Unfit(f"is damaged: its restart markers do not fit ({counts})")

    def _header(self, body: bytes) -> tuple[bytes, int, int, int, int]:
        """A scan's header: its components, the first and the last coefficient that it brings, and how many low bits of
        these are missing before it and after it.
        """
        count = body[0] if body else 0
        components = body[1 : 1 + 2 * count : 2]
        if not count or len(body) != 4 + 2 * count or not set(components) <= set(self.factors):
            raise Unfit("is damaged: the header of a scan contradicts that of the frame")
        if not self.progressive:
            return components, 0, 63, _ALL_BITS, 0
        first, last, bits = body[-3:]
        before, left = divmod(bits, 16)
        return components, first, last, before or _ALL_BITS, left

    def _units(self, components: bytes) -> int:
        """How many units a scan codes. Where it has several components, the units of the same place count as one."""
        most_x, most_y = (max(factors) for factors in zip(*self.factors.values(), strict=True))
        x, y = self.factors[components[0]] if len(components) == 1 else (1, 1)
        return -(-self.width * x // (8 * most_x)) * -(-self.height * y // (8 * most_y))


def image(content: bytes) -> Image.Image:
    """The picture that a JPEG file's bytes show, of mode L, RGB or CMYK; Unfit if they are seen to be damaged."""
    frame, scans, interval, end = None, 0, 0, 0
    for segment in _segments(content):
        if segment.marker in _FRAMES:
            if frame is not None:
                raise Unfit("is damaged: it has two frames")
            frame = _Frame(segment)
        elif segment.marker == _INTERVAL:
            interval = int.from_bytes(segment.body, "big")
        elif segment.marker == _SCAN:
            if frame is None:
                raise Unfit("is damaged: a scan comes before the frame")
            frame.take(segment, interval)
            scans, end = scans + 1, segment.end
    if frame is None or not frame.complete:
        raise Unfit("is cut short: it ends before its pixels do")
    mode, raw = _MODES[len(frame.factors)]
    ending = _NO_CODE if scans == 1 else b"\xff\xd9"
    return Image.frombytes(mode, (frame.width, frame.height), content[:end] + ending, "jpeg", raw, "")


def _segments(content: bytes) -> Iterator[_Segment]:
    """One segment after another up to the end marker; Unfit if there is none.

    Bytes between segments are passed over, as libjpeg does: they belong to nothing.
    """
    place = 2
    while match := _MARKER.search(content, place):
        marker, place = match[0][1], match.end()
        if marker == _END:
            return
        if marker == _START:
            raise Unfit("is damaged: another picture begins before it ends")
        if marker == _IDLE or marker in _RESTARTS:
            continue
        if marker not in _KNOWN:
            raise Unfit(f"is damaged: it holds a marker 0x{marker:02X}, which has no meaning")
        length = int.from_bytes(content[place : place + 2], "big")
        body, place, restarts = content[place + 2 : place + length], place + length, b""
        if length < 2 or place > len(content):
            break
        if marker == _SCAN:
            place, restarts = _end_of_scan(content, place)
        yield _Segment(marker, body, place, restarts)
    raise Unfit("is cut short: it has no end marker")


def _end_of_scan(content: bytes, start: int) -> tuple[int, bytes]:
    """Where the coded pixels from `start` on end, and the restart markers among them, a byte each."""
    restarts = bytearray()
    for match in _MARKER.finditer(content, start):
        marker = match[0][1]
        if marker not in _RESTARTS:
            return match.start(), bytes(restarts)
        restarts.append(marker)
    raise Unfit("is cut short: it has no end marker")
