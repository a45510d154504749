"""How classes look in pictures, and what is said of them."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from analysis.evaluation.picture import Pictures

# Tol 2021, "muted", and black: told apart by colour-blind eyes too. With the markers there are 40 looks.
COLOURS: Final = (
    "#332288", "#CC6677", "#44AA99", "#DDCC77", "#AA4499", "#117733", "#88CCEE", "#882255", "#999933", "#1A1A1A"
)  # fmt: skip
MARKERS: Final = ("o", "^", "s", "D")
LOOKS: Final = len(COLOURS) * len(MARKERS)


class Look(NamedTuple):
    """Colour and marker of a class, as matplotlib takes them."""

    colour: str
    marker: str


def looks(classes: Sequence[int]) -> dict[int, Look]:
    """The look of every class, in their order; beyond 40 they repeat."""
    return {
        label: Look(COLOURS[i % len(COLOURS)], MARKERS[i // len(COLOURS) % len(MARKERS)])
        for i, label in enumerate(classes)
    }


def about(pictures: Pictures) -> str:
    """What is shown, in a line."""
    sizes = [int((pictures.classes == label).sum()) for label in pictures.names]
    of_class = f"{sizes[0]}" if len(set(sizes)) == 1 else f"{min(sizes)} to {max(sizes)}"
    some = f"{len(sizes)} class{'es' if len(sizes) > 1 else ''} (labels: {pictures.labelling})"
    counted = f"{some} × {of_class} samples, n = {len(pictures.ids):,}"
    return f"{pictures.feature} on {pictures.split}: {counted}. {pictures.settings}."


def meaning(pictures: Pictures) -> Iterator[str]:
    """What the pictures say and what they do not."""
    turned = "Each picture is turned and mirrored, never stretched, onto"
    if len(pictures.steps) > 1:
        yield (
            f"{turned} the one of the step before, the first of a row onto the first row's: what moves is not the "
            "turning."
        )
    else:
        yield f"{turned} the first arm's."
    if pictures.method == "umap":
        yield (
            "UMAP keeps neighbours: axes, sizes of clusters and distances between them have no meaning, and some of "
            "the motion is UMAP's own."
        )
    else:
        yield "Distances are those of the features, as far as two axes show them (% of the variance)."
    if pictures.half_widths()[1]:
        yield "All at one scale."
    else:
        yield "Each at its own scale: ± is half the side of its square."
    if len(pictures.names) > LOOKS:
        yield f"Looks of classes repeat after {LOOKS}."
    yield from (f"{flag[:1].upper()}{flag[1:]}." for flag in pictures.flags)


def corner(pictures: Pictures, arm: str, step: int) -> str:
    """What stands in the corner of a picture: its share of the variance, and half its side where they differ."""
    (own,) = (one for one in pictures.pictures if (one.arm, one.step) == (arm, step))
    widths, shared = pictures.half_widths()
    share = f"{own.share:.0%}" if own.share == own.share else ""
    return " · ".join(part for part in (share, "" if shared else f"±{widths[arm, step]:.2g}") if part)
