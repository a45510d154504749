"""JPEG: what the format offers to tell a whole file from a damaged one is checked, and Pillow decodes the pixels.

A JPEG has no checksum. It is a row of segments, each begun by a marker (255 and a number); the header of a scan is
followed by coded pixels, with no markers among them but restart markers; an end marker closes it. libjpeg makes do with
whatever is there: it makes up the rest in grey and warns of it, which Pillow does not pass on. So the segments are
walked through here first. libjpeg passes over metadata, however long, and nothing behind the last scan is given to it:
some cameras put a second picture there.

Where one scan holds all, as in most files, it does not get the end marker either, but bits that are no code. Pillow
does without the marker once it has all pixels. As long as it has not, it asks for more, where with the marker libjpeg
would make them up.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from coupled.data.unfit import Unfit, check_size

SIGNATURE = b"\xff\xd8\xff"

_MARKER = re.compile(rb"\xff[\x01-\xfe]")  # among coded pixels, a 255 is followed by 0; before a marker come any number
_START, _END, _RESTARTS, _IDLE = 0xD8, 0xD9, bytes(range(0xD0, 0xD8)), 0x01  # these have no segment
_SCAN, _INTERVAL, _PROGRESSIVE = 0xDA, 0xDD, 0xC2
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xDE}  # lossless, hierarchical, arithmetic
_FRAMES = {0xC0, 0xC1, _PROGRESSIVE} | _OTHER_FRAMES
_KNOWN = _FRAMES | {_SCAN, _INTERVAL, 0xC4, 0xCC, 0xDB, 0xDC, *range(0xE0, 0xF0), 0xFE}  # and tables, metadata
_MODES = {1: ("L", "L"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK;I")}  # by components; the inks are stored inverted
_NO_CODE = b"\xff\x00" * 8  # no code is all ones; libjpeg reads up to 64 bits ahead
_ALL = 255
_ANOTHER = "save it anew as a baseline or progressive JPEG of 8 bits, or as PNG"


@dataclass(frozen=True)
class _Segment:
    """`end`: where it ends in the file, with the coded pixels behind a scan's header; `restarts`: the restart markers
    among these, a byte each.
    """

    marker: int
    body: bytes
    end: int
    restarts: bytes


class _Frame:
    """What a frame's header says, and what the scans have brought of it so far.

    By the number of each component: in `factors` its samples across and down in a unit; in `missing` how many low bits
    of each of its 64 coefficients are still to come, 255 where all are.
    """

    def __init__(self, segment: _Segment) -> None:
        body, self.progressive = segment.body, segment.marker == _PROGRESSIVE
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
        self.missing = {component: bytearray([_ALL] * 64) for component in self.factors}

    def take(self, scan: _Segment, interval: int) -> None:
        """Unfit unless `scan` begins where those before it ended, and restarts every `interval` units (0: never)."""
        count = scan.body[0] if scan.body else 0
        chosen = scan.body[1 : 1 + 2 * count : 2]
        if not count or len(scan.body) != 4 + 2 * count or not set(chosen) <= set(self.factors):
            raise Unfit("is damaged: the header of a scan contradicts that of the frame")
        first, last, bits = scan.body[-3:] if self.progressive else (0, 63, 0)
        for component in chosen:
            missing = self.missing[component]
            before = missing[first : last + 1]
            if before.strip(bytes([bits >> 4 or _ALL])):
                raise Unfit("is damaged: a scan is repeated or missing")
            missing[first : last + 1] = bytes([bits & 15] * len(before))
        intervals = -(-self._units(chosen) // interval) if interval else 0
        turns = (_RESTARTS * (intervals // 8 + 1))[:intervals]
        if scan.restarts not in (turns[:-1], turns):  # some encoders restart behind the last unit too
            counts = f"{len(scan.restarts)} in a scan of {intervals} parts"
            raise Unfit(f"is damaged: its restart markers do not fit ({counts})")

    def _units(self, chosen: bytes) -> int:
        """How many units a scan of these components codes: 8 × 8 samples of one of them, or of several together what
        lies in the same place.
        """
        most_x, most_y = (max(factors) for factors in zip(*self.factors.values(), strict=True))
        x, y = self.factors[chosen[0]] if len(chosen) == 1 else (1, 1)
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
    if frame is None or any(map(any, frame.missing.values())):
        raise Unfit("is cut short: it ends before its pixels do")
    mode, raw = _MODES[len(frame.factors)]
    ending = _NO_CODE if scans == 1 else b"\xff\xd9"
    return Image.frombytes(mode, (frame.width, frame.height), content[:end] + ending, "jpeg", raw, "")


def _segments(content: bytes) -> Iterator[_Segment]:
    """One segment after another up to the end marker; Unfit if there is none.

    Bytes between segments are passed over, as libjpeg does: they belong to nothing.
    """
    place = 2
    while found := _MARKER.search(content, place):
        marker, place = found[0][1], found.end()
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
    for found in _MARKER.finditer(content, start):
        marker = found[0][1]
        if marker not in _RESTARTS:
            return found.start(), bytes(restarts)
        restarts.append(marker)
    raise Unfit("is cut short: it has no end marker")
