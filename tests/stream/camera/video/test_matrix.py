"""Every codec in every container that holds it: frames, times, picture and orientation as they were put in."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from stream.camera.video import Picture, open_video
from tests.stream.camera.video.clips import BITS, FRAMES, TIMES, Kind, number_of, picture, psnr, widened, write_clip

HELD_BY = {
    "libx264": ("mp4", "mov", "matroska", "mpegts", "avi"),
    "libx265": ("mp4", "mov", "matroska", "mpegts"),
    "libvpx-vp9": ("mp4", "matroska", "webm"),
    "libsvtav1": ("mp4", "matroska", "webm"),
    "mpeg2video": ("mpegts", "matroska", "mpeg", "mxf", "mov", "avi"),
    "mpeg4": ("mp4", "mov", "matroska", "avi"),
    "mjpeg": ("mov", "matroska", "avi"),
    "prores_ks": ("mov", "matroska"),
    "dvvideo": ("mov", "avi", "dv"),
    "gif": ("gif",),
    "apng": ("apng",),
    "libwebp_anim": ("webp",),
}
PIXELS = {
    "libx264": ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le"),
    "libx265": ("yuv420p", "yuv444p", "yuv420p10le"),
    "libvpx-vp9": ("yuv420p", "yuv444p", "yuva420p"),
    "libsvtav1": ("yuv420p", "yuv420p10le"),
    "mpeg2video": ("yuv420p", "yuv422p"),
    "mpeg4": ("yuv420p",),
    "mjpeg": ("yuv420p", "yuv422p", "yuv444p"),
    "prores_ks": ("yuv422p10le", "yuva444p10le"),
    "dvvideo": ("yuv420p",),
    "gif": ("rgb8",),
    "apng": ("rgba", "rgb24"),
    "libwebp_anim": ("bgra",),
}
REORDERS = ("libx264", "libx265", "mpeg2video", "mpeg4")
INTERLACES = ("libx264", "mpeg2video", "mpeg4", "prores_ks")
TURNS = ("mp4", "mov")
CONSTANT_RATE = ("avi", "mxf", "dv", "mpeg")
SIZES = {"dvvideo": (720, 576)}
SLOW = ("libsvtav1", "libx265", "dvvideo")


def kinds() -> list[Kind]:
    """Every pair of codec and container with each of its times, formats and scans, and the eight ways to lie."""
    made: dict[Kind, None] = {}
    for codec, containers in HELD_BY.items():
        size = SIZES.get(codec, (112, 64))
        for container, pixels in itertools.product(containers, PIXELS[codec]):
            first = pixels == PIXELS[codec][0]
            full = codec == "mjpeg"
            aspect = Fraction(16, 15) if codec == "dvvideo" else Fraction(1)
            for time in TIMES:
                if time == "trimmed" and (container not in TURNS or codec not in ("libx264", "mpeg4")):
                    continue
                if time != "constant" and (container in CONSTANT_RATE or (codec in SLOW and not first)):
                    continue
                if time == "late" and codec in ("gif", "apng", "libwebp_anim"):
                    continue
                made[Kind(codec, container, pixels, time, full=full, size=size, aspect=aspect)] = None
                if codec in REORDERS and time != "trimmed" and (first or codec == "libx264"):
                    made[Kind(codec, container, pixels, time, bframes=2, full=full, size=size)] = None
            if codec in ("libx264", "libvpx-vp9", "libx265") and pixels in ("yuv420p", "yuv444p"):
                made[Kind(codec, container, pixels, full=True)] = None
            if codec in INTERLACES and container not in ("mpeg",):
                for scan in ("tff", "bff"):
                    made[Kind(codec, container, pixels, scan=scan, full=full)] = None
                    if codec in REORDERS:
                        made[Kind(codec, container, pixels, scan=scan, bframes=2)] = None
            if container in TURNS and first and codec not in ("dvvideo",):
                for turn, mirrored in itertools.product(range(4), (False, True)):
                    made[Kind(codec, container, pixels, turn=turn, mirrored=mirrored, full=full)] = None
            if container in TURNS and codec == "libx264":
                for turn, mirrored in itertools.product(range(4), (False, True)):
                    made[Kind(codec, container, pixels, turn=turn, mirrored=mirrored, scan="tff")] = None
    return list(made)


KINDS = kinds()


def least_psnr(kind: Kind) -> float:
    """What is asked of a picture, dB. An interlaced one has half of its lines made up; a palette has few colours."""
    if kind.codec == "gif":
        return 20.0
    if kind.codec in ("apng", "libwebp_anim"):
        return 50.0
    return 26.0 if kind.scan != "progressive" else 30.0


def test_there_are_enough_of_them() -> None:
    assert len(KINDS) >= 300
    assert FRAMES < 1 << BITS
    assert number_of(picture(5)) == 5


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_frames_times_and_pictures_come_back_as_they_were_put_in(tmp_path: Path, kind: Kind) -> None:
    # A name that says nothing: what a file is, its content says.
    reader = open_video(write_clip(tmp_path / "clip", kind))
    pictures: list[Picture] = []
    while (one := reader.next()) is not None:
        pictures.append(one)
    problem = reader.problem()
    reader.close()
    assert [number_of(one.image) for one in pictures] == kind.shown
    np.testing.assert_allclose([one.t_ns / 1e9 for one in pictures], kind.seconds, atol=0.0011)
    wanted = [widened(picture(number, kind.upright), kind.aspect) for number in kind.shown]
    assert {one.image.shape for one in pictures} == {wanted[0].shape}
    worst = min(psnr(one.image, each) for one, each in zip(pictures, wanted, strict=True))
    assert worst >= least_psnr(kind)
    assert (problem, [one.damaged for one in pictures]) == (None, [False] * len(pictures))
