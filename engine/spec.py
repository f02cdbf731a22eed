"""What a model expects and what it answers: the one place where training and runtime meet.

A :class:`ModelSpec` travels inside the bundle. The runtime reads labels, window, rates and crop geometry from
it and never from a constant, so a bundle made elsewhere streams without a code change.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import DferError

SEVEN_CLASSES: tuple[str, ...] = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
"""The seven basic classes in DFEW's order."""

MAFW_CLASSES: tuple[str, ...] = (*SEVEN_CLASSES, "contempt", "anxiety", "helplessness", "disappointment")
"""MAFW's eleven classes."""

_SPELLINGS: dict[str, str] = {
    "happy": "happiness", "happiness": "happiness", "joy": "happiness",
    "sad": "sadness", "sadness": "sadness",
    "neutral": "neutral", "neutrality": "neutral",
    "angry": "anger", "anger": "anger",
    "surprise": "surprise", "surprised": "surprise",
    "disgust": "disgust", "disgusted": "disgust",
    "fear": "fear", "fearful": "fear", "afraid": "fear",
    "contempt": "contempt", "anxiety": "anxiety", "anxious": "anxiety",
    "helplessness": "helplessness", "helpless": "helplessness",
    "disappointment": "disappointment", "disappointed": "disappointment",
}  # fmt: skip

MOST_SAMPLES = 4096
"""Most samples one score looks at: over 8 minutes at 8 Hz."""
MOST_RING_NUMBERS = 1 << 24
"""Most numbers of one face's ring of features: 64 MiB in float32."""
MOST_UNIT_BYTES = 1 << 27
"""Most bytes of one unit's crops: 42 of 1024 px."""
_MOST_CHARACTERS = 128

CLIP_MEAN: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)


class SpecError(DferError):
    """A model spec that cannot be: the message names the field and what it must be."""


def canonical_class(name: str) -> str:
    """Map any known spelling of an expression class to this project's name for it.

    Args:
        name: A class name as some data set spells it; case and surrounding space do not matter.

    Returns:
        The canonical name, for example ``"happiness"`` for ``"Happy"``.

    Raises:
        SpecError: If the spelling is unknown.
    """
    key = name.strip().lower()
    if key not in _SPELLINGS:
        raise SpecError(f"unknown expression class {name!r}", f"known: {', '.join(sorted(_SPELLINGS))}")
    return _SPELLINGS[key]


# Eye centres 80 px apart at y = 80 of a 224 px crop keep hairline to chin inside; the proportions of nose and
# mouth are those of the widely used five-point template (insightface's 112 px one), scaled to that eye
# distance.
_TEMPLATE = tuple((x / 224, y / 224) for x, y in ((72, 80), (152, 80), (112, 126), (79, 172), (145, 172)))


@dataclass(frozen=True)
class CropGeometry:
    """How a face is cut out: a similarity transform of five landmarks onto a template.

    Attributes:
        size_px: Side of the square crop, px.
        template: Five (x, y) points in units of the crop's side, [0, 1]: eye centre on the image's left, eye
            centre on its right, nose tip, mouth corner left, mouth corner right.
        border: What fills the crop outside the frame: ``"replicate"`` or ``"black"``.
    """

    size_px: int = 224
    template: tuple[tuple[float, float], ...] = _TEMPLATE
    border: str = "replicate"

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "template", tuple((float(x), float(y)) for x, y in self.template))
        except (TypeError, ValueError, OverflowError):
            raise SpecError(f"crop.template must be points (x, y), not {self.template!r:.80}") from None
        if not _whole(self.size_px) or not 16 <= self.size_px <= 1024:
            raise SpecError(f"crop.size_px must be 16..1024, not {self.size_px!r:.40}")
        if not all(math.isfinite(x) and math.isfinite(y) for x, y in self.template):
            raise SpecError(f"crop.template must be finite numbers, not {self.template}")
        if len(self.template) != 5:
            raise SpecError(f"crop.template needs 5 points, not {len(self.template)}")
        if self.border not in ("replicate", "black"):
            raise SpecError(f"crop.border must be 'replicate' or 'black', not {self.border!r}")


@dataclass(frozen=True)
class ModelSpec:
    """What the rest of the system knows of a model.

    The model is a unit encoder ``(B, U, S, S, 3) uint8 -> (B, D) float32`` and a window head
    ``(B, W, D) float32 -> logits (B, C), relevance (B, W*U)`` and, where ``has_now``, ``now (B, C)``.

    Attributes:
        name: The model's name, for example ``"tg-dfer"``.
        labels: C class names in the order of the logits.
        unit: U, frames one feature is made of.
        window: W, units one score is made of. T = U * W samples.
        hop: Samples between two runs of the head; equal to ``unit`` where ``window`` > 1.
        sample_hz: Samples per second of face time.
        feature: D, numbers per feature.
        has_now: Whether the head also scores the newest sample alone.
        crop: Crop geometry, size included.
        mean: Per-channel RGB mean of crops scaled to [0, 1]; the encoder graph subtracts it itself.
        std: Per-channel RGB standard deviation, likewise.
        feature_dtype: dtype of features in the ring.
    """

    name: str
    labels: tuple[str, ...]
    unit: int
    window: int
    hop: int
    sample_hz: float
    feature: int
    has_now: bool = False
    crop: CropGeometry = field(default_factory=CropGeometry)
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    feature_dtype: str = "float32"

    def __post_init__(self) -> None:
        for name in ("labels", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for text in (self.name, *self.labels):
            if not isinstance(text, str) or len(text) > _MOST_CHARACTERS or not text.isprintable():
                raise SpecError(
                    f"name and labels must be printable text of at most {_MOST_CHARACTERS} characters, not {text!r:.80}"
                )
        if isinstance(self.crop, Mapping):
            object.__setattr__(self, "crop", _from_mapping(CropGeometry, self.crop, "crop"))
        if not isinstance(self.crop, CropGeometry):
            raise SpecError(f"crop must be a table, not {self.crop!r:.40}")
        if not self.name:
            raise SpecError("name must not be empty")
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise SpecError(f"labels must be two or more different names, not {self.labels}")
        for name in ("unit", "window", "hop", "feature"):
            value = getattr(self, name)
            if not _whole(value) or value < 1:
                raise SpecError(f"{name} must be a whole number of at least 1, not {value!r:.40}")
        for name, items, most in (
            ("unit × window", self.unit * self.window, MOST_SAMPLES),
            ("window × feature", self.window * self.feature, MOST_RING_NUMBERS),
            ("unit × crop.size_px² × 3", self.unit * self.crop.size_px**2 * 3, MOST_UNIT_BYTES),
        ):
            if items > most:
                raise SpecError(f"{name} must be at most {most}, not {items}")
        if not isinstance(self.has_now, bool):
            raise SpecError(f"has_now must be true or false, not {self.has_now!r:.40}")
        if self.window > 1 and self.hop != self.unit:
            raise SpecError(f"hop must equal unit ({self.unit}) where window > 1, not {self.hop}")
        if self.hop > self.unit * self.window:
            raise SpecError(f"hop {self.hop} is longer than the window of {self.unit * self.window} samples")
        if not (_finite(self.sample_hz) and 0 < self.sample_hz <= 240):
            raise SpecError(f"sample_hz must be in (0, 240], not {self.sample_hz!r:.40}")
        three = len(self.mean) == len(self.std) == 3 and all(map(_finite, (*self.mean, *self.std)))
        if not three or min(self.std) <= 0:
            raise SpecError("mean and std need three numbers each, std above 0")
        if self.feature_dtype not in ("float32", "float16"):
            raise SpecError(f"feature_dtype must be 'float32' or 'float16', not {self.feature_dtype!r}")

    @property
    def samples(self) -> int:
        """T, samples one score looks at."""
        return self.unit * self.window

    @property
    def span_s(self) -> float:
        """Seconds between the oldest and one period after the newest sample of a full window."""
        return self.samples / self.sample_hz

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSpec:
        """Read a spec back from :meth:`to_dict`'s values.

        Raises:
            SpecError: On a missing or unknown key, or a value out of range.
        """
        spec: ModelSpec = _from_mapping(cls, values, "spec")
        return spec


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _finite(value: object) -> bool:
    # Compared rather than given to math.isfinite, which a whole number too large for a float overflows.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e300


def _from_mapping(cls: type[Any], values: Mapping[str, Any], where: str) -> Any:
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise SpecError(f"{where} has unknown keys {unknown}", f"known: {sorted(known)}")
    try:
        return cls(**values)
    except (TypeError, ValueError, OverflowError) as error:
        raise SpecError(f"{where} is incomplete or of the wrong type: {error}") from error
