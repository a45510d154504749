"""Amounts for people."""


def shown_bytes(count: int) -> str:
    """Bytes for people: "512 B", "1.5 kB", "2.0 GB" (powers of 1000)."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """A time as people read it: 45 s, 12 min, 3.4 h; a dash where it is not known."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
