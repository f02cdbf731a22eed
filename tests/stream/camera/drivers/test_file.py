"""Files as cameras: real files, real decoders."""

from __future__ import annotations

import http.server
import os
import signal
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from stream.camera import Camera, CameraError, CameraSettings, Frame, demo_clip_path
from stream.camera.recording import Recording
from tests.stream.camera.drivers.mjpeg_server import jpeg
from tests.stream.camera.reading import EVERY, play, write_video


def shared_video() -> Path:
    """The folder of the thirteen shared clips, or a skip."""
    here = Path(__file__).resolve().parents[4]
    named = os.environ.get("DFER_SHARED_DATA")
    for folder in ([Path(named)] if named else []) + [here.parent / "shared" / "data"]:
        if (folder / "video").is_dir():
            return folder / "video"
    pytest.skip("needs the shared clips: set DFER_SHARED_DATA to the folder that holds video/")


@pytest.mark.parametrize("name", ["a.mp4", "b.mkv", "c.mov", "d.avi", "e.mpg"])
def test_every_frame_of_a_video_in_order_and_on_time(tmp_path: Path, name: str) -> None:
    frames, camera = play(write_video(tmp_path / name))
    assert [f.seq for f in frames] == list(range(20))
    assert camera.stats.dropped == 0
    times = [f.t_capture_ns - 5_000_000_000 for f in frames]
    np.testing.assert_allclose(times, np.arange(20) * 40e6, atol=1.1e6)
    assert {f.t_capture_src for f in frames} == {"file"}
    levels = [int(f.image[:, 40:].mean()) for f in frames]
    np.testing.assert_allclose(levels, np.arange(20) * 10, atol=6)
    red, _, blue = frames[3].image[24, 10]
    assert red < 60
    assert blue > 140


def test_real_time_and_every_frame_give_the_same_times_and_pixels(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", fps=50)
    every, _ = play(path)
    by_seq = {f.seq: f for f in every}
    started_ns = time.monotonic_ns()
    paced, camera = play(path, CameraSettings(start_ns=5_000_000_000))
    assert paced[-1].seq == 19
    assert camera.stats.dropped == 20 - len(paced)
    for frame in paced:
        assert frame.t_capture_ns == by_seq[frame.seq].t_capture_ns
        # None is shown before it is due; late it may be.
        assert frame.t_arrival_ns - started_ns >= frame.t_capture_ns - 5_000_000_000
        assert (frame.image == by_seq[frame.seq].image).all()


def test_every_frame_waits_for_a_slow_reader_and_is_no_stall(tmp_path: Path) -> None:
    settings = CameraSettings(every_frame=True, stall_ms=50, restart_ms=60)
    with Camera(str(write_video(tmp_path / "a.mp4", 4)), settings) as camera:
        for n in range(4):
            frame = None
            while frame is None:
                frame = camera.read(1.0)
            assert frame.seq == n
            threading.Event().wait(0.15)
            assert camera.stats.captured <= n + 2
            assert camera.state == "ok"
        assert camera.read(5.0) is None
        assert (camera.state, camera.stats.restarts) == ("ended", 0)


def test_ended_stays_ended(tmp_path: Path) -> None:
    with Camera(str(write_video(tmp_path / "a.mp4", 2)), EVERY) as camera:
        while camera.state != "ended":
            camera.read(1.0)
        assert camera.read(30.0) is None
        assert camera.stats.message.endswith("ended after 2 frames")


def test_loop_runs_on_one_time_line(tmp_path: Path) -> None:
    settings = CameraSettings(every_frame=True, loop=True, start_ns=0)
    frames, _ = play(write_video(tmp_path / "a.mp4", 5), settings, limit=17)
    np.testing.assert_allclose([f.t_capture_ns for f in frames], np.arange(17) * 40e6, atol=1e6)
    assert [f.seq for f in frames] == list(range(17))
    assert (frames[1].image == frames[6].image).all()


def test_wall_time_runs_with_the_files_time(tmp_path: Path) -> None:
    frames, _ = play(write_video(tmp_path / "a.mp4", 10))
    assert abs(frames[0].t_capture_unix_ns - time.time_ns()) < 60e9
    assert frames[9].t_capture_unix_ns - frames[0].t_capture_unix_ns == frames[9].t_capture_ns - frames[0].t_capture_ns


def test_a_folder_of_images_in_natural_order_sizes_may_change(tmp_path: Path) -> None:
    for n in (10, 9, 1, 2):
        cv2.imwrite(str(tmp_path / f"frame{n}.png"), np.full((20 + n, 30, 3), n, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    frames, _ = play(tmp_path, CameraSettings(every_frame=True, fps=10, start_ns=0))
    assert [int(f.image[0, 0, 0]) for f in frames] == [1, 2, 9, 10]
    assert [f.image.shape[0] for f in frames] == [21, 22, 29, 30]
    assert [f.t_capture_ns for f in frames] == [0, 100_000_000, 200_000_000, 300_000_000]


def test_a_single_grey_image(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one face%20.png"), np.full((20, 30), 7, np.uint8))
    frames, _ = play(tmp_path / "one face%20.png")
    assert len(frames) == 1
    assert (frames[0].image == 7).all()
    assert len(play("file://" + str(tmp_path) + "/one%20face%2520.png")[0]) == 1


@pytest.mark.parametrize("case", ["missing", "text", "empty", "folder", "fifo", "image", "header"])
def test_what_cannot_be_played_is_an_error_with_its_name(tmp_path: Path, case: str) -> None:
    path = tmp_path / "clip.mp4"
    if case == "text":
        path.write_text("this is no video\n" * 50)
    elif case == "empty":
        path.touch()
    elif case == "folder":
        path.mkdir()
    elif case == "fifo":
        os.mkfifo(path)
    elif case == "image":
        path = tmp_path / "broken.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    elif case == "header":
        whole = write_video(tmp_path / "whole.avi", 10)
        path = tmp_path / "cut.avi"
        path.write_bytes(whole.read_bytes()[:300])
    with pytest.raises(CameraError, match=path.name), Camera(str(path), EVERY) as camera:
        camera.read(10.0)


def test_a_truncated_video_ends_and_says_so(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", 60, size=(320, 240))
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames, camera = play(cut)
    assert 5 < len(frames) < 60
    assert camera.state == "ended"
    assert "cut short: " in camera.stats.message
    assert "bytes are missing at its end" in camera.stats.message


def test_a_broken_image_in_a_folder_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 20, 3), np.uint8))
    (tmp_path / "2.png").write_text("broken")
    with pytest.raises(CameraError, match=r"2\.png is not an image"):
        play(tmp_path)


def test_a_killed_capture_process_goes_on_where_it_was(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 12)
    plain, _ = play(path)
    frames: list[Frame] = []
    with Camera(str(path), EVERY) as camera:
        while camera.state != "ended":
            if (frame := camera.read(1.0)) is not None:
                frames.append(frame)
            if frame is not None and len(frames) == 5:
                psutil.Process().children()[0].send_signal(signal.SIGKILL)
        assert camera.stats.restarts == 1
    assert [f.t_capture_ns for f in frames] == [f.t_capture_ns for f in plain]
    assert all((a.image == b.image).all() for a, b in zip(frames, plain, strict=True))


def test_a_playlist_in_disguise_opens_no_connection(tmp_path: Path) -> None:
    asked: list[str] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/x.ts"
        (tmp_path / "clip.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n")
        with pytest.raises(CameraError, match=r"clip\.m3u8"):
            play(tmp_path / "clip.m3u8")
        server.shutdown()
    assert asked == []


def test_the_demo_clip_is_there_or_its_absence_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stream.camera.paths.__file__", str(tmp_path / "camera" / "paths.py"))
    with pytest.raises(CameraError, match="demo clip"):
        demo_clip_path()
    (tmp_path / "demo").mkdir()
    write_video(tmp_path / "demo" / "clip.mp4", 3)
    assert demo_clip_path() == (tmp_path / "demo" / "clip.mp4").resolve()


CLIPS = {
    "grid_bbaf2n.mpg": 75,
    "grid_brbk7n.mpg": 75,
    "grid_lbax4n.mpg": 75,
    "grid_lbbc2a.mpg": 75,
    "grid_lwbsza.mpg": 75,
    "hamilton_short.mp4": 275,
    "intel_asl_thanks.mkv": 51,
    "intel_classroom.gif": 45,
    "intel_face-demographics-walking-and-pause.gif": 41,
    "intel_head-pose-face-detection-female.gif": 23,
    "intel_head-pose-face-detection-male.gif": 62,
    "pyfeat_face_noface.mov": 169,
    "pyfeat_single_face.mp4": 72,
}


@pytest.mark.parametrize("name", CLIPS)
def test_shared_clips_against_pyav(name: str) -> None:
    """Count and times of every clip, with PyAV's decoder as the oracle."""
    path = shared_video() / name
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        stamps = [float(f.pts * f.time_base) for f in container.decode(video=0)]
    frames, camera = play(path)
    times = np.array([f.t_capture_ns - 5_000_000_000 for f in frames])
    assert len(frames) == CLIPS[name] == len(stamps) == camera.stats.captured
    assert np.diff(times).min() > 0
    np.testing.assert_allclose(times, (np.array(stamps) - stamps[0]) * 1e9, atol=1.1e6)


def test_a_motion_jpeg_whose_size_changes_keeps_each_size_and_its_whole_picture(tmp_path: Path) -> None:
    path = tmp_path / "sizes.mjpeg"
    sizes = [(64, 48)] * 5 + [(160, 90)] * 5 + [(32, 60)] * 5 + [(64, 48)] * 5
    path.write_bytes(b"".join(jpeg(*size) for size in sizes))
    frames, camera = play(path)
    assert [(f.image.shape[1], f.image.shape[0]) for f in frames] == sizes
    for frame in frames:
        row = frame.image[frame.image.shape[0] // 2].astype(int)
        assert np.mean(row[:, 0] - row[:, 1] > 60) == pytest.approx(0.25, abs=0.1)
    assert camera.state == "ended"
    recorded = [(f.image.shape[1], f.image.shape[0]) for f in Recording(str(path))]
    assert recorded == sizes


def test_a_picture_over_the_limit_is_dropped_and_a_folder_of_nothing_else_is_refused(tmp_path: Path) -> None:
    for number, size in enumerate([(64, 48), (9000, 9000), (64, 48)]):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(*size))
    frames, camera = play(tmp_path)
    assert [frame.seq for frame in frames] == [0, 2]
    assert (camera.state, camera.stats.dropped) == ("ended", 1)
    (tmp_path / "0.jpg").unlink()
    (tmp_path / "2.jpg").unlink()
    with pytest.raises(CameraError, match="9000x9000 px is too large"):
        play(tmp_path)
