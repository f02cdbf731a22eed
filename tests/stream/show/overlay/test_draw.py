"""Drawing by property: pixels change where something is said, and nothing a message may hold breaks it."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.show.overlay.draw import Style, draw
from stream.show.overlay.palette import BAD, CLASS_COLOURS, PANEL, colour_of, ordered
from stream.show.overlay.text import put_text, text_width
from stream.subscribe.meter import Measured
from tests.stream.show.overlay.messages import ELEVEN, SEVEN, face_body, faces_body, probabilities, warming_body

# Linear RGB of what a dichromat sees (Viénot, Brettel & Mollon, Color Res. Appl. 24(4), 1999).
_PROTAN = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
_DEUTAN = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])


def frame(width: int = 640, height: int = 480) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 128, np.uint8)


def changed(picture: NDArray[np.uint8], before: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((picture != before).any(-1))


def has_colour(picture: NDArray[np.uint8], colour: tuple[int, int, int], slack: int = 6) -> int:
    return int((np.abs(picture.astype(int) - colour).max(-1) <= slack).sum())


def test_frame_is_not_changed_and_no_face_draws_the_header_only() -> None:
    before = frame()
    picture = draw(before, faces_body([]))
    assert (before == 128).all()
    touched = np.flatnonzero(changed(picture, before).any(1))
    assert touched.min() == 0
    assert touched.max() < 480 * 0.07


def test_box_and_panel_are_drawn_in_the_colour_of_the_label() -> None:
    before = frame()
    for label in SEVEN:
        picture = draw(before, faces_body([face_body(label=label)]))
        assert has_colour(picture, colour_of(label)) > 400
        touched = changed(picture, before)
        assert touched[130, 230:260].all(), "upper left bracket"
        assert touched[130:345, 420:].any(), "panel beside the face"
        assert not touched[180:300, 260:380].any(), "the face itself stays visible"


def test_bars_are_as_long_as_the_scores() -> None:
    lengths = {}
    for share in (0.2, 0.4, 0.8):
        scores = probabilities("disgust", share)
        picture = draw(frame(), faces_body([face_body(label=None, probs=scores, smoothed=scores)]))
        lengths[share] = has_colour(picture, colour_of("disgust"), 2)
    assert lengths[0.4] == pytest.approx(2 * lengths[0.2], rel=0.25)
    assert lengths[0.8] == pytest.approx(2 * lengths[0.4], rel=0.25)


def test_rows_keep_their_place_when_scores_change() -> None:
    def row_of(name: str, top: str) -> float:
        picture = draw(frame(), faces_body([face_body(label=None, smoothed=probabilities(top, 0.4))]))
        return float(np.argwhere(np.abs(picture.astype(int) - colour_of(name)).max(-1) <= 2)[:, 0].mean())

    assert row_of("fear", "fear") == pytest.approx(row_of("fear", "happiness"), abs=0.5)


def test_warming_grows_with_the_window() -> None:
    def drawn(n: int) -> int:
        before = frame()
        return has_colour(draw(before, faces_body([warming_body(n)])), (245, 247, 250), 2)

    assert drawn(2) < drawn(8) < drawn(15)


@pytest.mark.parametrize("reason", ["no_camera", "stalled", "frozen", "ended", "a reason of a later version"])
def test_frame_that_is_not_to_be_believed_says_so_in_the_middle(reason: str) -> None:
    picture = draw(frame(), faces_body([face_body()], valid=False, reason=reason))
    assert has_colour(picture[200:280], BAD, 25) > 1500
    assert has_colour(draw(frame(), faces_body([face_body()])), BAD, 25) == 0


@pytest.mark.parametrize("size", [(320, 240), (640, 480), (1280, 720), (1920, 1080)])
def test_same_share_of_the_picture_is_used_at_every_size(size: tuple[int, int]) -> None:
    width, height = size
    side = min(width / 640, height / 480)
    box = tuple(value * side for value in (150, 130, 185, 215))
    before = frame(width, height)
    used = changed(draw(before, faces_body([face_body(box=box)])), before)
    panel_share = used[int(60 * side) :].sum() / side**2
    assert 20_000 < panel_share < 60_000


def test_many_faces_get_tags_and_every_box_is_marked() -> None:
    faces = [
        face_body(str(k), (20 + k % 5 * 125, 70 + k // 5 * 135, 70, 80), ELEVEN[k], smoothed={}, probs={})
        for k in range(11)
    ]
    before = frame()
    touched = changed(draw(before, faces_body(faces)), before)
    for body in faces:
        x, y, w, h = (int(value) for value in body["box"])
        assert touched[y - 2 : y + 3, x : x + w].any()
        assert touched[y - 20 : y, x : x + w].any()


@pytest.mark.parametrize(
    "box",
    [
        (-60, -40, 150, 160),
        (560, 400, 200, 200),
        (0, 0, 640, 480),
        (-1e6, 10, 2e6, 50),
        (700, 500, 50, 50),
        (100, 100, 0, 0),
        (100, 100, 1, 1),
        (float("nan"), 0, 10, 10),
    ],
)
def test_box_may_lie_anywhere(box: tuple[float, ...]) -> None:
    for body in (face_body(box=box), warming_body(box=box, state="coasting"), face_body(box=box, label=None)):
        picture = draw(frame(), faces_body([body, face_body("2", (300, 200, 60, 70))]))
        assert picture.shape == (480, 640, 3)


def test_lost_face_is_not_drawn() -> None:
    lost = draw(frame(), faces_body([face_body(state="lost")]))
    assert has_colour(lost, colour_of("happiness")) == 0


def test_almost_empty_messages_are_drawn() -> None:
    cases: list[dict[str, Any]] = [{}, {"faces": None}, {"faces": [{}]}, {"faces": [{"box": [10, 60, 90, 90]}]}]
    for message in cases:
        assert draw(frame(), message).shape == (480, 640, 3)


def test_unsure_face_is_grey_not_coloured() -> None:
    picture = draw(frame(), faces_body([face_body(label=None, smoothed={}, probs={})]))
    assert all(has_colour(picture, colour_of(name), 3) == 0 for name in SEVEN if name != "neutral")


def test_header_gives_rate_latency_and_what_is_degraded() -> None:
    plain = draw(frame(), faces_body([]))
    told = draw(frame(), faces_body([], degraded=["scheduler"]), Measured(29.9, 12.0, 4))
    assert (plain[:22] != told[:22]).any()
    assert has_colour(told[:24], (255, 176, 0), 40) > 20


values = st.one_of(st.none(), st.floats(0, 1))
maps = st.one_of(st.none(), st.dictionaries(st.sampled_from([*ELEVEN, "bored", "ärger"]), st.floats(0, 1), max_size=13))


@settings(max_examples=25, deadline=None)
@given(
    bodies=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "id": st.text(max_size=8),
                "state": st.sampled_from(["new", "tracked", "coasting", "lost"]),
                "primary": st.booleans(),
                "box": st.tuples(*[st.floats(-900, 900)] * 4),
                "ready": st.booleans(),
                "reason": st.sampled_from(["ok", "warming", "starved", "occluded"]),
                "label": st.one_of(st.none(), st.sampled_from(ELEVEN), st.text(max_size=20)),
                "confidence": values,
                "probs": maps,
                "smoothed": maps,
                "window": st.one_of(
                    st.none(), st.fixed_dictionaries({"n": st.integers(0, 40), "need": st.integers(0, 16)})
                ),
                "relevance": st.one_of(st.none(), st.lists(st.floats(0, 1), max_size=16)),
            },
        ),
        max_size=6,
    )
)
def test_nothing_a_face_may_hold_breaks_it(bodies: list[dict[str, Any]]) -> None:
    picture = draw(frame(320, 240), faces_body(bodies))
    assert picture.shape == (240, 320, 3)
    assert picture.dtype == np.uint8


def _seen_by(colour: tuple[int, int, int], vision: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = (np.array(colour) / 255) ** 2.2
    shown = np.clip(vision @ linear, 0, 1) ** (1 / 2.2)
    lab = cv2.cvtColor(shown.astype(np.float32)[None, None], cv2.COLOR_RGB2LAB)
    return np.asarray(lab[0, 0], np.float64)


@pytest.mark.parametrize("vision", [np.eye(3), _PROTAN, _DEUTAN], ids=["usual", "protan", "deutan"])
def test_seven_classes_are_told_apart_with_any_common_colour_vision(vision: NDArray[np.float64]) -> None:
    for a, b in itertools.combinations(SEVEN, 2):
        apart = np.linalg.norm(_seen_by(CLASS_COLOURS[a], vision) - _seen_by(CLASS_COLOURS[b], vision))
        assert apart > 10, (a, b, apart)


def test_every_class_has_a_colour_of_its_own_that_reads_on_a_panel() -> None:
    names = [*ELEVEN, "bored", "curious"]
    assert len({colour_of(name) for name in names}) == len(names)
    for name in names:
        assert sum(colour_of(name)) > sum(PANEL) + 180


def test_order_is_fixed_and_unknown_classes_come_last() -> None:
    assert ordered(["zeal", "fear", "bored", "happiness"]) == ["happiness", "fear", "bored", "zeal"]
    assert ordered(None) == []


@given(text=st.text(max_size=12), x=st.floats(-300, 900), y=st.floats(-300, 900), size=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_text_may_lie_anywhere_and_hold_anything(text: str, x: float, y: float, size: int) -> None:
    put_text(frame(64, 48), text, (x, y), size, (255, 255, 255))
    assert (text_width(text, size) > 0) == bool(text)


def test_text_is_larger_on_larger_frames() -> None:
    assert Style.of(1920, 1080).unit == pytest.approx(2.25 * Style.of(640, 480).unit, rel=0.1)
