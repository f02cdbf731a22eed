"""The picture that is shown: pixel aspect, transparency, colour matrix, high dynamic range, lengths of files."""

from __future__ import annotations

import gc
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from stream.camera import CameraError
from stream.camera.video import open_video
from stream.camera.video.extent import missing_bytes
from stream.camera.video.orientation import read_matrix
from stream.camera.video.picture import PictureMaker, square
from stream.camera.video.still import decode_image
from stream.camera.video.tone import HLG, PQ, to_sdr
from tests.stream.camera.video.clips import Kind, picture, psnr, widened, write_clip


def shown(path: Path) -> NDArray[np.uint8]:
    reader = open_video(path)
    one = reader.next()
    reader.close()
    assert one is not None
    return one.image


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_pixels_become_square(tmp_path: Path, container: str) -> None:
    aspect = Fraction(64, 45)
    path = write_clip(tmp_path / "clip", Kind("libx264", container, aspect=aspect))
    image = shown(path)
    assert image.shape == (64, 159, 3)
    assert psnr(image, widened(picture(0), aspect)) > 30
    assert open_video(path).info.width == 159


def test_frames_that_were_read_are_freed_without_a_collection(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip", Kind("libx264", "mp4"))
    gc.collect()
    gc.disable()
    try:
        with closing(open_video(path)) as reader:
            read = sum(1 for _ in iter(reader.next, None))
            kept = sum(type(each) is av.VideoFrame for each in gc.get_objects())
    finally:
        gc.enable()
    assert read == 8
    assert kept < 4


def test_neither_side_shrinks() -> None:
    assert square(720, 480, Fraction(8, 9)) == (720, 540)
    assert square(720, 576, Fraction(64, 45)) == (1024, 576)


@pytest.mark.parametrize(
    ("matrix", "high"), [("ITU601", False), ("ITU709", True), ("BT2020", False), (None, False), (None, True)]
)
def test_the_colour_matrix_is_the_frames_own_or_that_of_its_size(matrix: str | None, high: bool) -> None:
    rgb = picture(0, (1280, 720) if high else (112, 64))
    name = matrix or ("ITU709" if high else "ITU601")
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
        format="yuv444p", dst_colorspace=Colorspace[name], threads=1
    )
    if matrix is None:
        frame.colorspace = 2
    assert psnr(PictureMaker().make(frame, Fraction(1)), rgb) > 40


def test_transparent_parts_are_black(tmp_path: Path) -> None:
    image = np.dstack([picture(1), np.full((64, 112), 255, np.uint8)])
    image[:, 60:, 3] = 0
    data = cv2.imencode(".webp", cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA), [cv2.IMWRITE_WEBP_QUALITY, 101])[1]
    (tmp_path / "a").write_bytes(data.tobytes())
    made = shown(tmp_path / "a")
    assert (made[:, 60:] == 0).all()
    assert psnr(made[:, :60], picture(1)[:, :60]) > 45


def code(transfer: int, nits: float) -> int:
    """The 16 bit code of grey light, by the formulas of ITU-R BT.2100."""
    if transfer == PQ:
        y = (nits / 10000) ** 0.1593017578125
        return round(65535 * float(((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375))
    scene = (nits / 1000) ** (1 / 1.2)
    value = (3 * scene) ** 0.5 if scene <= 1 / 12 else 0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073
    return round(65535 * float(value))


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_high_dynamic_range_keeps_the_middle_and_rolls_off_above(transfer: int) -> None:
    nits = [0.0, 2.03, 20.3, 50.75, 203.0, 500.0, 1000.0]
    greys = np.array([[[code(transfer, value)] * 3 for value in nits]], np.uint16)
    made = to_sdr(greys, transfer)[0].astype(int)
    assert np.ptp(made, axis=1).max() <= 1
    levels = made[:, 1].tolist()
    # Below the knee light stays as it is: sRGB of 1 %, 10 % and 25 % of reference white.
    assert levels[:4] == pytest.approx([0, 25, 89, 137], abs=2)
    assert levels == sorted(levels)
    assert 200 < levels[4] < 250
    assert levels[-1] == 255


def test_bad_matrices_turn_nothing() -> None:
    assert read_matrix(b"") == read_matrix(bytes(36)) == read_matrix(bytes(20))


def test_avif_and_jpeg_stills_are_read_upright() -> None:
    image = picture(2)
    for suffix in (".avif", ".jpg", ".png"):
        data = cv2.imencode(suffix, image[..., ::-1])[1].tobytes()
        made = decode_image(data)
        assert made is not None
        assert psnr(made, image) > 28
    assert decode_image(b"no image") is None
    assert decode_image(b"\0\0\0\x18ftypavif" + bytes(40)) is None


CONTAINERS = [
    ("libx264", "mp4"), ("libx264", "mov"), ("libx264", "matroska"), ("libvpx-vp9", "webm"), ("libx264", "mpegts"),
    ("libx264", "avi"), ("libx264", "flv"), ("mpeg2video", "mpeg"), ("mpeg2video", "mxf"), ("gif", "gif"),
    ("apng", "apng"), ("libwebp_anim", "webp"), ("libvpx-vp9", "ivf"), ("wmv2", "asf"),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "container"), CONTAINERS)
def test_a_missing_end_is_seen_by_the_lengths_of_the_parts(tmp_path: Path, codec: str, container: str) -> None:
    pixels = {"gif": "rgb8", "apng": "rgb24", "libwebp_anim": "bgra"}.get(codec, "yuv420p")
    path = write_clip(tmp_path / "clip", Kind(codec, container, pixels))
    data = path.read_bytes()
    assert missing_bytes(path) == 0
    for share in (0.99, 0.8, 0.5):
        # Odd, so that it ends within a packet of a transport stream.
        path.write_bytes(data[: int(len(data) * share) | 1])
        assert missing_bytes(path) > 0, share


def test_what_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    for name, data in (("text.mp4", b"this is no video\n" * 50), ("a.txt", b"\x1b[2Jart\n" * 400), ("empty", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CameraError, match=name):
            open_video(tmp_path / name)


def test_an_animated_avif_moves_though_its_first_picture_is_a_stream_of_its_own(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.features")
    if not pillow.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    from PIL import Image

    pictures = [Image.fromarray(np.full((64, 64, 3), 40 * i, np.uint8)) for i in range(1, 6)]
    pictures[0].save(tmp_path / "a.avif", save_all=True, append_images=pictures[1:], duration=100)
    with closing(open_video(tmp_path / "a.avif")) as reader:
        levels = [int(shown.image.mean()) for shown in iter(reader.next, None)]
    assert levels == pytest.approx([40, 80, 120, 160, 200], abs=3)
