from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.show.overlay import OverlayError
from stream.show.overlay.palette import BAD, colour_of
from stream.show.overlay.timeline import RunSeries, save_png, timeline
from tests.stream.show.overlay.messages import face_body, faces_body, probabilities, warming_body


def run(count: int = 90) -> list[dict[str, Any]]:
    """A third warming, a third happiness, a third sadness."""
    found = []
    for k in range(count):
        if k < count // 3:
            body = warming_body(k)
        else:
            label = "happiness" if k < 2 * count // 3 else "sadness"
            body = face_body(label=label, smoothed=probabilities(label, 0.9), primary=True)
        found.append(faces_body([body], k))
    return found


def columns_with(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.int_]:
    return np.flatnonzero((picture == colour).all(-1).sum(0) > picture.shape[0] * 0.2)


def test_bands_lie_where_the_scores_were() -> None:
    picture = timeline(run(), size=(900, 300))
    happy, sad = columns_with(picture, colour_of("happiness")), columns_with(picture, colour_of("sadness"))
    assert len(happy) == pytest.approx(len(sad), rel=0.1)
    assert happy.max() < sad.min()
    # The first third, warming, has no scores: nothing between the axis and the first band.
    assert happy.min() - len(happy) == pytest.approx(8 * 5, abs=12)


def test_height_of_a_band_is_its_probability() -> None:
    body = face_body(label="anger", smoothed=probabilities("anger", 0.7))
    picture = timeline([faces_body([body], k) for k in range(30)], size=(900, 400))
    column = picture[:, 400]
    rows = {name: int((column == colour_of(name)).all(-1).sum()) for name in ("anger", "fear")}
    assert rows["anger"] > 10 * rows["fear"] > 0


def test_not_valid_is_marked_and_darkened() -> None:
    messages = run()
    for message in messages[70:80]:
        message.update(valid=False, reason="stalled", faces=[])
    marked = np.flatnonzero((timeline(messages, size=(900, 300)) == BAD).all(-1).any(0))
    clean = (timeline(run(), size=(900, 300)) == BAD).all(-1)
    assert not clean.any()
    assert len(marked) > 30
    assert np.diff(marked).max() == 1


def test_stretch_without_the_face_stays_empty() -> None:
    messages = run()
    for message in messages[40:50]:
        message["faces"] = []
    happy = columns_with(timeline(messages, size=(900, 300)), colour_of("happiness"))
    assert np.diff(happy).max() > 20


def test_primary_face_is_taken_unless_another_is_named() -> None:
    messages = [
        faces_body([face_body("a", label="fear"), face_body("b", label="disgust", primary=True)], k) for k in range(20)
    ]
    assert RunSeries.of(messages).primary == "b"
    assert len(columns_with(timeline(messages), colour_of("disgust"))) > 500
    assert len(columns_with(timeline(messages, face="a"), colour_of("fear"))) > 500
    with pytest.raises(OverlayError, match="it has a, b"):
        timeline(messages, face="c")


def test_no_message_no_face_and_one_message_are_pictures_too() -> None:
    cases: list[list[dict[str, Any]]] = [[], [faces_body([])], [faces_body([face_body()])], [{}], [{"faces": [{}]}]]
    for messages in cases:
        assert timeline(messages, size=(400, 200)).shape == (200, 400, 3)


def test_too_small_is_refused() -> None:
    with pytest.raises(OverlayError, match="320"):
        timeline([], size=(100, 50))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**10), st.booleans(), st.booleans()), max_size=25))
def test_times_may_jump_and_faces_may_come_and_go(rows: list[tuple[int, bool, bool]]) -> None:
    messages = [
        faces_body([face_body()] if seen else [], k, t_capture_ns=t_ns if valid else None, valid=valid)
        for k, (t_ns, valid, seen) in enumerate(rows)
    ]
    collected = RunSeries.of(messages)
    assert collected.t_s == sorted(collected.t_s)
    assert timeline(messages, size=(320, 160)).shape == (160, 320, 3)


def test_png_is_whole_or_absent(tmp_path: Path) -> None:
    picture = timeline(run(30), size=(400, 200))
    save_png(picture, tmp_path / "run.png")
    back = cv2.imread(str(tmp_path / "run.png"))
    assert back is not None
    assert np.array_equal(back[..., ::-1], picture)
    with pytest.raises(OverlayError, match="png"):
        save_png(picture, tmp_path / "run.jpg")
    with pytest.raises(OverlayError, match="cannot be written"):
        save_png(picture, tmp_path / "absent" / "run.png")
    assert [path.name for path in tmp_path.iterdir()] == ["run.png"]
