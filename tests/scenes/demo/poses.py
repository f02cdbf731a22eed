"""The poses of the demo clip, relative to the portrait as photographed: smiling.

Poses are blended linearly, so a clip is a curve of weights. Lengths are in units of the distance between the
eye centres, in the face's own upright frame.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pose:
    """Where a pose puts the moving parts, relative to the portrait as photographed.

    Attributes:
        mouth_width: Width between the mouth corners, as a fraction of the photographed smile's.
        corners_down: Mouth corners, downwards.
        line_down: Centre of the line between the lips, downwards.
        gap: Opening between the inner lips at the centre; None keeps the photographed opening.
        gap_round: Exponent of the opening's profile over the width: 1 is a parabola, smaller is rounder.
        upper_thick, lower_thick: Height of the lips, as a fraction of the photographed one.
        jaw_down: Chin, downwards.
        cheeks_down: Cheeks, downwards.
        brow_inner_up, brow_mid_up, brow_outer_up: Brows, upwards.
        brows_together: Inner brow ends, towards each other (each).
        upper_lid_up, lower_lid_up: Lids at the middle of the eye, upwards.
        nose_in: Nostrils, towards the middle (a smile spreads them).
    """

    mouth_width: float = 1.0
    corners_down: float = 0.0
    line_down: float = 0.0
    gap: float | None = None
    gap_round: float = 1.0
    upper_thick: float = 1.0
    lower_thick: float = 1.0
    jaw_down: float = 0.0
    cheeks_down: float = 0.0
    brow_inner_up: float = 0.0
    brow_mid_up: float = 0.0
    brow_outer_up: float = 0.0
    brows_together: float = 0.0
    upper_lid_up: float = 0.0
    lower_lid_up: float = 0.0
    nose_in: float = 0.0


POSES = {
    "neutral": Pose(
        mouth_width=0.75,
        corners_down=0.225,
        line_down=0.025,
        gap=0.0,
        upper_thick=1.10,
        lower_thick=1.48,
        jaw_down=-0.025,
        cheeks_down=0.075,
        brow_inner_up=0.01,
        brow_mid_up=-0.01,
        brow_outer_up=0.015,
        upper_lid_up=-0.015,
        lower_lid_up=-0.024,
        nose_in=0.04,
    ),
    "happiness": Pose(
        mouth_width=1.03,
        corners_down=-0.02,
        cheeks_down=-0.025,
        lower_lid_up=0.012,
        brow_mid_up=0.01,
    ),
    "surprise": Pose(
        mouth_width=0.60,
        corners_down=0.28,
        line_down=0.16,
        gap=0.39,
        gap_round=0.63,
        upper_thick=1.18,
        lower_thick=1.5,
        jaw_down=0.257,
        cheeks_down=0.08,
        brow_inner_up=0.155,
        brow_mid_up=0.18,
        brow_outer_up=0.095,
        upper_lid_up=0.06,
        lower_lid_up=-0.027,
        nose_in=0.04,
    ),
    "sadness": Pose(
        mouth_width=0.79,
        corners_down=0.275,
        line_down=0.005,
        gap=0.0,
        upper_thick=1.16,
        lower_thick=1.48,
        jaw_down=-0.09,
        cheeks_down=0.065,
        brow_inner_up=0.10,
        brow_mid_up=-0.02,
        brow_outer_up=-0.025,
        brows_together=0.02,
        upper_lid_up=-0.043,
        lower_lid_up=0.015,
        nose_in=0.045,
    ),
    "anger": Pose(
        mouth_width=0.76,
        corners_down=0.20,
        line_down=-0.01,
        gap=0.0,
        upper_thick=0.8,
        lower_thick=1.0,
        jaw_down=-0.07,
        cheeks_down=0.02,
        brow_inner_up=-0.13,
        brow_mid_up=-0.08,
        brow_outer_up=0.0,
        brows_together=0.08,
        upper_lid_up=-0.01,
        lower_lid_up=0.03,
        nose_in=-0.02,
    ),
}
