"""Faces over a frame with a fault: those of the frame before it, for as long as a window survives."""

from __future__ import annotations

from stream.publish.message import Face, Quality, Window
from stream.scores.held import HOLD_NS, HeldFaces

PERIOD_NS = 40_000_000


def face(state: str = "tracked") -> Face:
    return Face(
        id="f1", state=state, age_frames=7, primary=True, box=(1.0, 2.0, 3.0, 4.0), score=0.9, ready=True, reason="ok",
        window=Window(16, 16, 2000.0, 0), quality=Quality(None, None, None, None), label="neutral", score_age_ms=80.0,
    )  # fmt: skip


def test_a_fault_shows_the_faces_of_the_frame_before_a_little_older() -> None:
    held = HeldFaces()
    assert held.hold(0, "") is None
    held.keep([face("new"), face("lost")], 0, "")
    shown = held.hold(PERIOD_NS, "damaged")
    assert shown is not None
    assert [(one.state, one.label, one.age_frames, one.score_age_ms) for one in shown] == [
        ("tracked", "neutral", 8, 120.0)
    ]
    assert held.hold(2 * PERIOD_NS, "blank") is not None
    assert held.hold(3 * PERIOD_NS, "") is None


def test_what_lasts_is_looked_at_and_only_a_good_frame_ends_that() -> None:
    held = HeldFaces()
    held.keep([face()], 0, "")
    assert held.hold(HOLD_NS, "damaged") is not None
    late = HOLD_NS + PERIOD_NS
    assert held.hold(late, "damaged") is None
    held.keep([face()], late, "damaged")
    assert held.hold(late + PERIOD_NS, "damaged") is None
    held.keep([face()], late + 2 * PERIOD_NS, "")
    assert held.hold(late + 3 * PERIOD_NS, "damaged") is not None


def test_with_nothing_before_it_a_fault_shows_nothing_for_as_long() -> None:
    held = HeldFaces()
    assert held.hold(0, "damaged") == []
    assert held.hold(HOLD_NS + 1, "damaged") is None
    held.forget()
    assert held.hold(2 * HOLD_NS, "damaged") == []
