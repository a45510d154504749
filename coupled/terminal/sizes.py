"""Amounts for people."""


def shown_bytes(count: int) -> str:
    """Bytes for people: "512 B", "1.5 kB", "2.0 GB" (powers of 1000)."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
