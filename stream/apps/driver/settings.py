"""The driver policy's thresholds, each with where it comes from.

Levels rise with how long something holds: notice, warning, alarm. A threshold that no rule or paper gives says "our
choice".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.settings import SettingsError, entries, values_of

OURS = "our choice"
_LEAST_BASELINE_S = 3.0
_EURO_NCAP = "Euro NCAP Assessment Protocol Safety Assist, Safe Driving (2023), occupant status monitoring"
_VATS = f"{_EURO_NCAP}; as applied by Forster et al., Accid. Anal. Prev. 205:107684, 2024"
_ADDW = "Delegated Regulation (EU) 2023/2590, Annex I, Part 1, 3.3.2 (warning triggers)"
_NHTSA = "NHTSA Visual-Manual Driver Distraction Guidelines, 78 FR 24817, 2013 (no glance over 2.0 s)"
_PERCLOS = "Wierwille et al. 1994; Dinges and Grace, FHWA-MCRT-98-006, 1998 (eyes at least 80 % shut, over a minute)"
_PERCLOS_ROAD = (
    "real driving for 4 h: J. Vision 12(9), VSS 2012 (10 % at the first microsleep, 12 % on leaving the lane)"
)


@dataclass(frozen=True)
class InputSettings:
    """When what is received may be believed.

    Attributes:
        stale_ms: A newest frame older than this is no input any more, ms.
        settle_s: For how long input must be good, after it was not, before `fine` is said again, s; at least 1.
        hold_s: How long a level is kept while nothing can be seen, s.
        unseen_s: How long the head may be out of sight before attention is unknown, s.
        eyes_unseen_s: How long the eyes may be out of sight, as in a mirror check, before drowsiness is unknown, s.
        clock_jump_ms: A step of one clock against the other that is no jitter any more, ms.
        publish_hz: Messages per second while nothing changes; a change is published at once.
    """

    stale_ms: float = 500.0
    settle_s: float = 1.0
    hold_s: float = 5.0
    unseen_s: float = 0.3
    eyes_unseen_s: float = 3.0
    clock_jump_ms: float = 1000.0
    publish_hz: float = 5.0

    def __post_init__(self) -> None:
        _positive(self, but=())
        if self.settle_s < 1:
            raise SettingsError(f"settle_s must be at least 1, not {self.settle_s:g}")


@dataclass(frozen=True)
class SeatSettings:
    """Where the driver sits, and what it means not to be seen there.

    Attributes:
        region: Where the middle of the driver's face may be: x, y, width, height as shares of the frame, 0 to 1.
        absent_s: No face in the seat for this long: notice, warning, alarm, s.
        occluded_s: A face whose eyes or head cannot be judged for this long: notice, warning, s.
        wrong_seat_s: Faces, but none in the seat, for this long: notice, warning, s.
    """

    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    absent_s: tuple[float, float, float] = (2.0, 5.0, 10.0)
    occluded_s: tuple[float, float] = (10.0, 60.0)
    wrong_seat_s: tuple[float, float] = (3.0, 10.0)

    def __post_init__(self) -> None:
        x, y, width, height = self.region
        inside = all(math.isfinite(number) and 0 <= number <= 1 for number in self.region)
        if not inside or width <= 0 or height <= 0 or x + width > 1 + 1e-6 or y + height > 1 + 1e-6:
            raise SettingsError(f"region must be x, y, width, height within the frame, shares of 0 to 1: {self.region}")
        _rising(self, "absent_s", "occluded_s", "wrong_seat_s")


@dataclass(frozen=True)
class BaselineSettings:
    """What is learned of a driver in the first minute: where the road is, how far the eyes open, the calm face.

    Attributes:
        seconds: How much is looked at, s; until then the state is `learning`.
        first_s: After this much a provisional baseline serves for warnings, s.
        keep_s: A driver away for longer is another driver: the baseline is learned anew, s.
        most_yaw_deg: A head that rests further from the camera than this is no baseline, degrees.
        most_spread_deg: Nor one whose yaw's middle half spreads wider than this, degrees.
        least_open: Nor eyes that open less than this, 0 to 1.
    """

    seconds: float = 60.0
    first_s: float = 5.0
    keep_s: float = 5.0
    most_yaw_deg: float = 60.0
    most_spread_deg: float = 20.0
    least_open: float = 0.3

    def __post_init__(self) -> None:
        _positive(self, but=())
        if self.seconds < _LEAST_BASELINE_S:
            raise SettingsError(f"seconds must be at least {_LEAST_BASELINE_S:g}, not {self.seconds:g}")
        if self.first_s > self.seconds:
            raise SettingsError(f"first_s must be at most seconds, not {self.first_s:g} of {self.seconds:g}")


@dataclass(frozen=True)
class AttentionSettings:
    """The head away from the road. The head's direction stands for the gaze, which the messages do not hold.

    Attributes:
        yaw_deg: To either side of the baseline, degrees.
        down_deg: Below it, degrees.
        up_deg: Above it, degrees.
        back_share: The head is back once within this share of the angles, 0 to 1.
        away_s: Away without a break for this long: notice, warning, alarm, s.
        gap_s: A break shorter than this is none, s.
        shared_window_s: Over how long repeated glances are added up, s.
        shared_s: Away for this much of it: notice, warning, alarm, s.
        clear_s: A level falls once the head was back for this long, s.
    """

    yaw_deg: float = 30.0
    down_deg: float = 20.0
    up_deg: float = 25.0
    back_share: float = 0.8
    away_s: tuple[float, float, float] = (2.0, 3.5, 6.0)
    gap_s: float = 0.2
    shared_window_s: float = 30.0
    shared_s: tuple[float, float, float] = (8.0, 10.0, 15.0)
    clear_s: float = 2.0

    def __post_init__(self) -> None:
        _positive(self, but=("away_s", "shared_s"))
        _rising(self, "away_s", "shared_s")
        if self.back_share > 1:
            raise SettingsError(f"back_share must be at most 1, not {self.back_share:g}")
        if self.shared_s[-1] > self.shared_window_s:
            raise SettingsError(
                f"shared_s must fit into shared_window_s ({self.shared_window_s:g} s), not {self.shared_s}"
            )


@dataclass(frozen=True)
class DrowsinessSettings:
    """Eyes and mouth.

    Attributes:
        shut_share: An eye is shut below this share of its own open state, 0 to 1.
        open_share: And open again above this one.
        shut_s: Shut without a break for this long: warning (a microsleep), alarm (asleep), s.
        shut_clear_s: How long such a level stays after the eyes are open again, s.
        long_blink_s: A closure of this length and more is a long blink, s.
        long_blinks: So many of them within `window_s`: notice, warning.
        window_s: Over how long PERCLOS and long blinks are counted, s.
        least_seen_s: Eyes seen for less than this within `window_s` give no PERCLOS, s.
        perclos: Share of the window with the eyes shut: notice, warning, alarm, 0 to 1.
        perclos_back: Its level falls once it is under this share of the threshold, 0 to 1.
        yawn_open: A mouth wider open than this may be a yawn, 0 to 1.
        yawn_s: If it stays so for this long, s; singing and speaking close it sooner.
        yawns: So many of them within `yawn_window_s`: notice, warning.
        yawn_window_s: Over how long yawns are counted, s.
    """

    shut_share: float = 0.2
    open_share: float = 0.3
    shut_s: tuple[float, float] = (1.0, 3.0)
    shut_clear_s: float = 5.0
    long_blink_s: float = 0.5
    long_blinks: tuple[float, float] = (3.0, 6.0)
    window_s: float = 60.0
    least_seen_s: float = 30.0
    perclos: tuple[float, float, float] = (0.10, 0.12, 0.20)
    perclos_back: float = 0.8
    yawn_open: float = 0.6
    yawn_s: float = 2.5
    yawns: tuple[float, float] = (3.0, 6.0)
    yawn_window_s: float = 300.0

    def __post_init__(self) -> None:
        _positive(self, but=("shut_s", "long_blinks", "perclos", "yawns"))
        _rising(self, "shut_s", "long_blinks", "perclos", "yawns")
        if not self.shut_share <= self.open_share < 1:
            raise SettingsError(f"shut_share must be at most open_share, below 1: {self.shut_share}, {self.open_share}")


@dataclass(frozen=True)
class AffectSettings:
    """Sustained negative expression: never more than a notice, and no statement about feelings.

    Attributes:
        share: Anger, disgust, fear and sadness together above this, 0 to 1.
        above_baseline: And by this much above the driver's own calm face.
        seconds: For this long, s.
        gap_s: A break shorter than this is none, s.
    """

    share: float = 0.6
    above_baseline: float = 0.3
    seconds: float = 30.0
    gap_s: float = 2.0

    def __post_init__(self) -> None:
        _positive(self, but=())


@dataclass(frozen=True)
class DriverSettings:
    """Everything, by section."""

    input: InputSettings = field(default_factory=InputSettings)
    seat: SeatSettings = field(default_factory=SeatSettings)
    baseline: BaselineSettings = field(default_factory=BaselineSettings)
    attention: AttentionSettings = field(default_factory=AttentionSettings)
    drowsiness: DrowsinessSettings = field(default_factory=DrowsinessSettings)
    affect: AffectSettings = field(default_factory=AffectSettings)


SOURCES: Mapping[str, str] = {
    "attention.away_s": f"2 s: {_NHTSA}. 3.5 s (above 50 km/h) and 6 s (above 20 km/h): {_ADDW}",
    "attention.shared_window_s": f"30 s: {_VATS}",
    "attention.shared_s": f"10 s: {_VATS}. 8 s and 15 s: {OURS}",
    "attention.yaw_deg": f"{OURS}; the same regulation's area 1 begins at 55° of gaze, of which the head turns a part",
    "attention.down_deg": f"{OURS}; below the 30° of gaze at which the same regulation's lowest area begins",
    "drowsiness.shut_share": _PERCLOS,
    "drowsiness.window_s": _PERCLOS,
    "drowsiness.perclos": f"10 % and 12 %: {_PERCLOS_ROAD}. 20 %: {OURS}",
    "drowsiness.shut_s": f"1 s (microsleep) and 3 s (sleep): {_EURO_NCAP}, driver state fatigue",
    "drowsiness.yawn_s": f"{OURS}; a yawn lasts some 6 s: Provine, Ethology 72:109, 1986",
}
"""Where a threshold comes from, by key; what is not here is our choice."""


def table(settings: DriverSettings | None = None) -> str:
    """Every threshold with its value, meaning and source, as a Markdown table."""
    values = values_of(settings or DriverSettings())
    lines = ["| setting | value | meaning | source |", "|---|---|---|---|"]
    for entry in entries(DriverSettings):
        value = values[entry.key]
        shown = ", ".join(f"{each:g}" for each in (value if isinstance(value, tuple) else (value,)))
        lines.append(f"| `{entry.key}` | {shown} | {entry.doc} | {SOURCES.get(entry.key, OURS)} |")
    return "\n".join(lines)


def _positive(settings: object, but: tuple[str, ...]) -> None:
    for name, value in vars(settings).items():
        if name not in but and not (math.isfinite(value) and value > 0):
            raise SettingsError(f"{name} must be above 0, not {value}")


def _rising(settings: object, *names: str) -> None:
    for name in names:
        values = getattr(settings, name)
        if not all(math.isfinite(value) and value > 0 for value in values) or list(values) != sorted(values):
            raise SettingsError(f"{name} must be numbers above 0, each at least the one before, not {values}")
