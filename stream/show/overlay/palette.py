"""One colour per class, told apart with any common colour vision; RGB uint8."""

from __future__ import annotations

import colorsys
import zlib

Colour = tuple[int, int, int]

# Okabe & Ito's set (jfly.uni-koeln.de/color, 2008), blue lightened so that it reads on a dark panel, and four more
# for MAFW that keep their distance in lightness.
CLASS_COLOURS: dict[str, Colour] = {
    "happiness": (240, 228, 66),
    "surprise": (230, 159, 0),
    "neutral": (190, 194, 200),
    "sadness": (46, 134, 214),
    "fear": (204, 121, 167),
    "disgust": (0, 158, 115),
    "anger": (213, 74, 0),
    "contempt": (134, 205, 240),
    "anxiety": (240, 190, 215),
    "helplessness": (128, 110, 200),
    "disappointment": (186, 150, 104),
}
CLASS_ORDER = tuple(CLASS_COLOURS)
"""Bars and bands are always in this order, unknown classes after it by name, so that nothing jumps."""

INK: Colour = (245, 247, 250)
DIM: Colour = (150, 156, 166)
PANEL: Colour = (16, 19, 26)
TRACK: Colour = (58, 63, 74)
WARN: Colour = (255, 176, 0)
BAD: Colour = (220, 50, 32)
UNDECIDED: Colour = (225, 229, 235)


def colour_of(label: str) -> Colour:
    """The colour of a class; an unknown one gets a hue from its name, the same in every process."""
    known = CLASS_COLOURS.get(label)
    if known is not None:
        return known
    hue = zlib.crc32(label.encode()) / 2**32
    red, green, blue = colorsys.hls_to_rgb(hue, 0.66, 0.62)
    return round(red * 255), round(green * 255), round(blue * 255)


def ordered(labels: object) -> list[str]:
    """Class names in the fixed order.

    Args:
        labels: An iterable of names, for example the keys of a score map; anything else counts as empty.
    """
    names = [str(name) for name in labels] if hasattr(labels, "__iter__") else []
    rank = {name: k for k, name in enumerate(CLASS_ORDER)}
    return sorted(dict.fromkeys(names), key=lambda name: (rank.get(name, len(rank)), name))
