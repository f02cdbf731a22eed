"""The texts the models read: class names, facial descriptors and action units, in this project's words.

What belongs to which expression follows the papers (TG-DFER's examples, section 3.3; DK-CLIP, Table 1); the
action units' names are those of the Facial Action Coding System.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.spec import canonical_class

DESCRIPTORS: dict[str, str] = {
    "happiness": "a smiling mouth with raised corners, lifted cheeks, and crinkles beside narrowed eyes",
    "sadness": "drooping lip corners, inner brows drawn up, lowered eyelids, and a trembling chin",
    "neutral": "a relaxed mouth, smooth forehead, level brows, and eyes resting open",
    "anger": "brows pulled down and together, a hard stare, tightened eyelids, and lips pressed firmly shut",
    "surprise": "widened eyes, brows raised high, and a jaw dropped open",
    "disgust": "a wrinkled nose, raised upper lip, narrowed eyes, and cheeks pushed up",
    "fear": "eyes stretched wide, brows raised and drawn together, and lips pulled sideways and parted",
    "contempt": "one lip corner tightened and raised, half-lowered eyelids, and a sideways look down",
    "anxiety": "furrowed brows, restless eyes, bitten or pressed lips, and a tense jaw",
    "helplessness": "brows slanting up in the middle, a searching gaze, and a slack, slightly open mouth",
    "disappointment": "lowered gaze, lip corners turned down, slumped cheeks, and a slow closing of the eyes",
}
"""Facial movements of each class (TG-DFER's "descriptors")."""

ACTION_UNITS: dict[int, str] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    15: "lip corner depressor",
    17: "chin raiser",
    20: "lip stretcher",
    24: "lip pressor",
    25: "lip part",
    26: "jaw drop",
}
"""Names of the action units in DK-CLIP's Table 1."""

CLASS_UNITS: dict[str, tuple[int, ...]] = {
    "happiness": (6, 12, 25),
    "sadness": (1, 4, 15, 17),
    "anger": (4, 7, 17, 24),
    "surprise": (1, 2, 5, 25, 26),
    "disgust": (9, 10, 17),
    "fear": (1, 2, 4, 5, 20, 25),
}
"""Primary relevant action units per class, DK-CLIP's Table 1; the other classes are their name alone."""


def class_names(labels: Sequence[str]) -> list[str]:
    """Each class as its plain name, "happiness"."""
    return [canonical_class(label) for label in labels]


def descriptors(labels: Sequence[str]) -> list[str]:
    """Each class as facial movements, "a smiling mouth with raised corners, ..."."""
    return [DESCRIPTORS[canonical_class(label)] for label in labels]


def action_units(labels: Sequence[str], joint: str) -> list[str]:
    """Each class as its name with its action units (DK-CLIP, section 3.4).

    Args:
        labels: Class names.
        joint: What joins the last two units: ``or`` says that they need not be active together, ``and`` that
            they are (Table 6, d and e).

    Returns:
        One text per class, "Happiness with cheek raiser, lip corner puller or lip part.".
    """
    texts = []
    for name in class_names(labels):
        units = [ACTION_UNITS[unit] for unit in CLASS_UNITS.get(name, ())]
        if not units:
            texts.append(name.capitalize())
        else:
            texts.append(f"{name.capitalize()} with {', '.join(units[:-1])} {joint} {units[-1]}.")
    return texts
