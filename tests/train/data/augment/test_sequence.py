"""One transform per clip, geometry against an oracle, and looks that stay images."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.settings import SettingsError
from train.data.augment.sequence import IDENTITY, ClipTransform, draw_transform
from train.settings import AugmentSettings

UNTOUCHED = AugmentSettings((1.0, 1.0), 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def picture(size: int = 48, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(cv2.GaussianBlur(rng.integers(0, 255, (size, size, 3), np.uint8), (0, 0), 3))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_all_frames_of_a_clip_get_the_same_draw(seed: int) -> None:
    transform = draw_transform(AugmentSettings(infrared=0.0), np.random.default_rng(seed))
    out = transform([picture()] * 3, 32)
    assert out.shape == (3, 32, 32, 3)
    assert out.dtype == np.uint8
    assert (out[0] == out[1]).all()
    assert (out[0] == out[2]).all()


def test_no_augmentation_changes_nothing() -> None:
    clip = np.stack([picture(seed=i) for i in range(2)])
    for seed in range(5):
        assert (draw_transform(UNTOUCHED, np.random.default_rng(seed))(clip, 48) == clip).all()
    assert (IDENTITY(clip, 48) == clip).all()
    assert IDENTITY(clip, 24).shape == (2, 24, 24, 3)


def test_a_flip_is_the_mirrored_image_and_a_half_turn_is_both() -> None:
    image = picture()
    mirror = ClipTransform(np.array([[-1.0, 0, 0], [0, 1, 0]]))
    assert (mirror([image], 48)[0] == image[:, ::-1]).all()
    turn = ClipTransform(np.array([[-1.0, 0, 0], [0, -1, 0]]))
    assert (turn([image], 48)[0] == image[::-1, ::-1]).all()


def test_a_crop_keeps_the_stated_part() -> None:
    image = picture(64)
    # The left upper quarter: half the side, centre at -1/4.
    quarter = ClipTransform(np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]]))
    expected = image[:32, :32]
    assert np.abs(quarter([image], 32)[0].astype(int) - expected).max() <= 1


def test_grey_and_infrared_have_three_equal_channels() -> None:
    clip = [picture(seed=i) for i in range(2)]
    grey = draw_transform(AugmentSettings(grey=1.0, infrared=0.0, hue_deg=0.0), np.random.default_rng(1))(clip, 32)
    assert np.ptp(grey.astype(int), axis=3).max() <= 1
    night = draw_transform(AugmentSettings(grey=0.0, infrared=1.0), np.random.default_rng(1))(clip, 32)
    assert np.ptp(night, axis=3).max() == 0
    assert night.std() > 5


@pytest.mark.parametrize(
    "bad", [{"crop_scale": (0.0, 1.0)}, {"flip": 1.5}, {"brightness": 1.0}, {"crop_ratio": 0.5}, {"rotation_deg": -1.0}]
)
def test_settings_out_of_range_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=next(iter(bad))):
        AugmentSettings(**bad)  # type: ignore[arg-type]
