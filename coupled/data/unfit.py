"""The error for an image file that is not read, and how large a file may be."""

MAX_SIDE = 65_500  # libjpeg's own limit
MAX_PIXELS = 64_000_000  # 192 MB of RGB bytes
MAX_BYTES = 8 * MAX_PIXELS  # as many as the largest picture takes uncompressed, with 16 bits of RGB and transparency

DAMAGED = "put a whole one in its place"
ANOTHER_KIND = "save it anew as JPEG or PNG"


class Unfit(Exception):  # noqa: N818 - why a file is refused, for `decode` to say
    """An image file is refused: `fault` is what is wrong with it, `do` is what its owner can do."""

    def __init__(self, fault: str, do: str = DAMAGED) -> None:
        super().__init__(fault)
        self.do = do


def check_size(width: int, height: int) -> None:
    """Unfit unless a picture of this size is read. The size comes from the header, before any pixel is decoded."""
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        fault = f"has {width} × {height} pixels, at most {MAX_SIDE} a side and {MAX_PIXELS} in all are read"
        raise Unfit(fault, "put a smaller one in its place")
    if not width * height:
        raise Unfit(f"is damaged: it has {width} × {height} pixels")
