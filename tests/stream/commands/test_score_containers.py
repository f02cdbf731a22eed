"""Labels do not depend on the file a clip is in: the shipped model, ``dfer-stream score``, every frame of the demo."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import pytest

from stream.camera.paths import demo_clip_path
from stream.cli import main

COPIED = ("mov", "mkv", "ts", "avi")
"""Containers that the clip's own H.264 (8-bit 4:2:0, B-frames, from an MP4) is copied into, packet by packet."""
ENCODED: dict[str, tuple[str, dict[str, str]]] = {
    "mjpeg.avi": ("mjpeg", {"qmin": "1", "qmax": "2"}),
    "mpeg2.ts": ("mpeg2video", {"qmin": "1", "qmax": "2"}),
    "ffv1.mkv": ("ffv1", {}),
    "h264.mov": ("libx264", {"preset": "ultrafast", "qp": "4", "bf": "2"}),
    "hevc.mp4": ("libx265", {"preset": "ultrafast", "x265-params": "qp=6:log-level=none:pools=none:frame-threads=1"}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "4", "b": "0"}),
}
"""Encoded anew, so that the picture is kept but for rounding (FFV1: to the bit)."""
ONE_SAMPLE = 4
"""Frames by which a label that changes may come sooner or later: one sample of the model at 8 Hz, of 30 fps."""


def copied(suffix: str, folder: Path) -> Path:
    path = folder / f"copied.{suffix}"
    with av.open(str(demo_clip_path())) as source, av.open(str(path), "w") as container:
        taken = source.streams.video[0]
        stream = container.add_stream_from_template(taken)
        # AVI's muxer refuses H.264 without start codes; TS's adds them itself.
        marks = av.BitStreamFilterContext("h264_mp4toannexb" if suffix == "avi" else "null", taken, stream)
        for packet in source.demux(taken):
            for made in marks.filter(packet) if packet.dts is not None else []:
                made.stream = stream
                container.mux(made)
    return path


def encoded(name: str, folder: Path) -> Path:
    codec, options = ENCODED[name]
    with av.open(str(demo_clip_path())) as source, av.open(str(folder / name), "w") as container:
        stream = cast("av.VideoStream", container.add_stream(codec, rate=30, options=options))
        stream.width, stream.height = 640, 480
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(source.decode(video=0)):
            made = frame.reformat(format=stream.pix_fmt, threads=1)
            made.pts, made.time_base, made.pict_type = number, Fraction(1, 30), av.video.frame.PictureType.NONE
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    return folder / name


def shares(paths: list[Path], out: Path) -> dict[str, float]:
    """For each file the share of the clip's frames that have the face and the label they have in the original."""
    files = [demo_clip_path(), *paths]
    assert main(["score", *map(str, files), "--threads", "1", "--jobs", "1", "--quiet", "--out", str(out)]) == 0
    rows: dict[str, list[tuple[int, str, str]]] = {str(file): [] for file in files}
    for line in out.read_text().splitlines():
        row = json.loads(line)
        rows[row["path"]].append((row["frame_id"], row["face"], row["label"]))
    original, *others = rows.values()
    # The clip has something to get wrong: every frame a face, and three labels at least (its frown may be unsure).
    assert [frame_id for frame_id, _, _ in original] == list(range(360))
    assert {label for _, _, label in original} >= {"neutral", "happiness", "surprise"}
    found = {
        path.name: len(set(original) & set(other)) / len(original) for path, other in zip(paths, others, strict=True)
    }
    print(", ".join(f"{name} {100 * share:.1f} %" for name, share in found.items()))
    return found


def test_labels_are_the_same_in_every_container(tmp_path: Path) -> None:
    paths = [copied(suffix, tmp_path) for suffix in COPIED]
    found = shares([*paths, encoded("mjpeg.avi", tmp_path)], tmp_path / "rows.jsonl")
    assert min(found.values()) >= 0.99


@pytest.mark.slow
def test_labels_are_the_same_in_every_codec_that_keeps_the_picture(tmp_path: Path) -> None:
    found = shares([encoded(name, tmp_path) for name in ENCODED], tmp_path / "rows.jsonl")
    assert sum(found.values()) / len(found) >= 0.99
    assert found["ffv1.mkv"] == 1
    # Other pixels may move one of the three changes of label, and not by more than one sample.
    assert round(360 * (1 - min(found.values()))) <= ONE_SAMPLE
