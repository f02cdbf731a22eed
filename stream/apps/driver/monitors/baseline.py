"""What a driver looks like on a calm road, learned in the first minute."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median, quantiles

from stream.apps.driver.evidence import Observation
from stream.apps.driver.settings import BaselineSettings
from stream.publish.driver import Baseline

_EVERY_NS = 100_000_000
_AGAIN_NS = 1_000_000_000
_MOST_STEP_NS = 500_000_000
_LEAST_EYES = 20


@dataclass(frozen=True)
class _Sample:
    length_ns: int
    yaw: float
    pitch: float
    eyes: float | None
    negative: float | None


class BaselineLearner:
    """Learns where the head rests, how far the eyes open and how the calm face scores.

    Ten samples a second are kept, those of the last minute; what they give is taken once the minute is full and the
    head was steady. A driver who was away for long is taken for another one.

    Args:
        settings: Times and limits.
    """

    def __init__(self, settings: BaselineSettings) -> None:
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget this driver."""
        self.learned = Baseline()
        self._samples: deque[_Sample] = deque()
        self._covered_ns = 0
        self._sampled_ns: int | None = None
        self._again_ns = 0
        self._seen_ns: int | None = None

    def step(self, seen: Observation) -> Baseline:
        """Take one observation; returns what is known so far."""
        if self._seen_ns is not None and seen.t_ns - self._seen_ns > self._settings.keep_s * 1e9:
            self.reset()
        if seen.face is not None:
            self._seen_ns = seen.t_ns
        if self.learned.learned or seen.yaw is None or seen.pitch is None:
            return self.learned
        step_ns = seen.t_ns - (self._sampled_ns if self._sampled_ns is not None else seen.t_ns - 1)
        if 1 < step_ns < _EVERY_NS:
            return self.learned
        self._sampled_ns = seen.t_ns
        self._samples.append(_Sample(min(step_ns, _MOST_STEP_NS), seen.yaw, seen.pitch, seen.eyes, seen.negative))
        self._covered_ns += self._samples[-1].length_ns
        while self._covered_ns - self._samples[0].length_ns >= self._settings.seconds * 1e9:
            self._covered_ns -= self._samples.popleft().length_ns
        if seen.t_ns >= self._again_ns:
            self._again_ns = seen.t_ns + _AGAIN_NS
            self.learned = self._estimate()
        return self.learned

    def _estimate(self) -> Baseline:
        samples, settings = self._samples, self._settings
        share = min(self._covered_ns / (settings.seconds * 1e9), 1.0)
        if self._covered_ns < settings.first_s * 1e9 or len(samples) < _LEAST_EYES:
            return Baseline(share=round(share, 3))
        yaws = [sample.yaw for sample in samples]
        low, _, high = quantiles(yaws, n=4)
        yaw, pitch = median(yaws), median(sample.pitch for sample in samples)
        eyes = [sample.eyes for sample in samples if sample.eyes is not None]
        # Blinks and glances down pull the middle; the upper quarter is the open eye.
        eyes_open = quantiles(eyes, n=4)[2] if len(eyes) >= _LEAST_EYES else None
        calm = [sample.negative for sample in samples if sample.negative is not None]
        steady = high - low <= settings.most_spread_deg and abs(yaw) <= settings.most_yaw_deg
        awake = eyes_open is not None and eyes_open >= settings.least_open
        return Baseline(
            learned=share >= 1 and steady and awake,
            share=round(share, 3),
            yaw=round(yaw, 2),
            pitch=round(pitch, 2),
            eyes_open=round(eyes_open, 3) if eyes_open is not None and awake else None,
            negative=round(median(calm), 3) if calm else None,
        )
