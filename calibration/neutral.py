"""Per-person neutral baseline: a few seconds of someone's resting face move that track's operating point.

Some faces look sad or angry at rest. The median of a person's logits over their first seconds of neutral face is
compared with the mean logits of neutral faces the bundle was calibrated on; the difference, bounded per class, is
added to that track's logits. It is opt-in, ends with the track, and the message shows it. Nothing about the person is
kept: C numbers per live track. Pure, NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from calibration.apply import Floats
from calibration.settings import CalibrationError, NeutralSettings


@dataclass
class BaselineState:
    """One face's baseline in the making: scores seen since `t_first_ns`, then the (C,) shift they gave."""

    t_first_ns: int
    seen: list[npt.NDArray[np.float64]] = field(default_factory=list)
    shift: npt.NDArray[np.float64] | None = None


class NeutralBaseline:
    """Keeps each live face's shift.

    Args:
        settings: Whether, how long and how far.
        reference: (C,) mean logits of held-out neutral faces, ``Calibration.neutral_logits``.

    Raises:
        CalibrationError: If enabled and the bundle's calibration has no reference.
    """

    def __init__(self, settings: NeutralSettings, reference: Sequence[float] | None) -> None:
        if settings.enabled and reference is None:
            raise CalibrationError(
                "the neutral baseline needs a bundle calibrated with neutral faces",
                "run `dfer-calibrate fit` on it, or set scores.neutral.enabled = false",
            )
        self.settings = settings
        self._reference = np.asarray(reference if reference is not None else [], dtype=np.float64)
        self._tracks: dict[str, BaselineState] = {}

    def step(self, track_id: str, logits: Floats, t_ns: int) -> npt.NDArray[np.float64] | None:
        """Take one new score of a face whose window is full.

        Args:
            track_id: Whose.
            logits: (C,) raw logits.
            t_ns: Capture time of its newest sample.

        Returns:
            (C,) shift to add to this face's logits, within ±bound, or None while there is none.
        """
        if not self.settings.enabled:
            return None
        state = self._tracks.setdefault(track_id, BaselineState(t_ns))
        if state.shift is None:
            scores = np.asarray(logits, dtype=np.float64)
            # Softmax ignores a constant added to all classes, so it must not count here either.
            state.seen.append(scores - scores.mean())
            if t_ns - state.t_first_ns >= self.settings.seconds * 1e9:
                state.shift = self._shift(np.stack(state.seen))
                state.seen.clear()
        return state.shift

    def take_over(self, other: NeutralBaseline) -> None:
        """Go on with what another one knows of each face."""
        self._tracks = other._tracks

    def reset(self, track_id: str) -> None:
        """Forget a face's baseline; its next seconds make a new one."""
        self._tracks.pop(track_id, None)

    def reset_all(self) -> None:
        """Forget every baseline."""
        self._tracks.clear()

    def _shift(self, seen: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # The median, because a blink or a smile of half a second must not count.
        difference = self._reference - np.median(seen, axis=0)
        difference -= difference.mean()
        return np.clip(difference, -self.settings.bound, self.settings.bound)
