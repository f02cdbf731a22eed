"""High dynamic range to the 8 bit of a display of today: HLG and PQ (ITU-R BT.2100) to BT.709.

Reference white, 203 cd/m² (ITU-R BT.2408), becomes white. Below 0.45 of it light stays as it is; from there to the
source's peak, 1,000 cd/m², it is rolled off by the curve of ITU-R BT.2390-11, 5.4.1 (a Hermite spline over PQ values).
Colours of BT.2020 that BT.709 lacks are cut off.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

PQ, HLG = 16, 18
"""FFmpeg's numbers of the transfer characteristics (ITU-T H.273, table 3)."""
WHITE_NITS, PEAK_NITS = 203.0, 1000.0
_STEPS = 4096
_TO_709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)
"""BT.2020 to BT.709 in linear light (ITU-R BT.2407, 2.2)."""
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073

Values = NDArray[np.float64]


def to_sdr(image: NDArray[np.uint16], transfer: int) -> NDArray[np.uint8]:
    """Bring ``(H, W, 3)`` RGB uint16, coded by ``transfer`` (:data:`PQ` or :data:`HLG`), to ``(H, W, 3)`` uint8 RGB."""
    import cv2

    light: NDArray[np.float32] = _light_of_code(transfer)[image]
    if transfer == HLG:
        # The system gamma of BT.2100, for a display of 1,000 cd/m²: the scene's luminance to the power 1.2.
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= np.maximum(luminance, 1e-6)[..., None] ** np.float32(0.2)
    shown = np.clip(cv2.transform(light, _TO_709), 0.0, 1.0)
    index = np.sqrt(shown) * np.float32(_STEPS - 1)
    return _code_of_light()[(index + np.float32(0.5)).astype(np.uint16)]


@cache
def _light_of_code(transfer: int) -> NDArray[np.float32]:
    """Linear light of every 16 bit code; 1 is the peak."""
    code = np.linspace(0.0, 1.0, 65536)
    if transfer == PQ:
        return np.minimum(_pq_light(code) * 10000.0 / PEAK_NITS, 1.0).astype(np.float32)
    low = code * code / 3
    high = (np.exp((np.maximum(code, 0.5) - _C) / _A) + _B) / 12
    return np.where(code <= 0.5, low, high).astype(np.float32)


@cache
def _code_of_light() -> NDArray[np.uint8]:
    """8 bit of BT.709 for light in [0, 1] of the peak, by the square root of light in equal steps."""
    light = np.linspace(0.0, 1.0, _STEPS) ** 2
    white = _roll_off(light * PEAK_NITS) / WHITE_NITS
    # sRGB's curve: what screens show, and what the models' pictures were made for.
    coded = np.where(white <= 0.0031308, 12.92 * white, 1.055 * np.maximum(white, 1e-9) ** (1 / 2.4) - 0.055)
    return np.round(np.clip(coded, 0.0, 1.0) * 255).astype(np.uint8)


def _roll_off(nits: Values) -> Values:
    """BT.2390's curve from a peak of 1,000 cd/m² to one of 203, both from black."""
    peak = _pq_code(np.array(PEAK_NITS / 10000.0))
    most = float(_pq_code(np.array(WHITE_NITS / 10000.0)) / peak)
    knee = 1.5 * most - 0.5
    value = _pq_code(nits / 10000.0) / peak
    t = (value - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most
    return _pq_light(np.where(value < knee, value, spline) * peak) * 10000.0


def _pq_light(code: Values) -> Values:
    """Light, 1 for 10,000 cd/m², of a PQ value in [0, 1] (SMPTE ST 2084)."""
    power = np.asarray(code) ** (1 / _M2)
    return np.asarray((np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1))


def _pq_code(light: Values) -> Values:
    """The inverse of :func:`_pq_light`."""
    power = np.asarray(light) ** _M1
    return np.asarray(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2)
