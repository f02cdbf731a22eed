from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.envelope import Envelope
from stream.publish.message import EVENTS, EXPRESSION_EVENTS, Event, Eyes, Face, Faces, Head, LatencyMs, Model, Window
from stream.publish.wire import decode, encode
from stream.reactions.reactions import _PAIRS, Reaction, Reactions

STEP_NS = 33_333_334
START_NS = 10_000_000_000


def face(label: str | None = None, **changes: Any) -> Face:
    told: dict[str, Any] = {
        "id": "1", "state": "tracked", "age_frames": 9, "primary": True, "box": (0.0, 0.0, 9.0, 9.0), "score": 0.9,
        "ready": True, "reason": "ok", "window": Window(16, 16, 1875.0), "label": label,
    }  # fmt: skip
    return Face(**(told | changes))


class Watched:
    """Messages at 30 frames/s, and the reactions to them with the frame in which each was told."""

    def __init__(self) -> None:
        self._reactions, self.frame = Reactions(), 0
        self.told: list[tuple[int, Reaction]] = []

    @property
    def t_ns(self) -> int:
        return START_NS + self.frame * STEP_NS

    def show(self, frames: int, *faces: Face, valid: bool = True) -> Watched:
        for _ in range(frames):
            self.frame += 1
            message = Faces(
                source="c", session="s", seq=self.frame, frame_id=self.frame, dropped_total=0,
                t_publish_ns=self.t_ns + 9_000_000, boot_id="b", valid=valid, reason="ok" if valid else "stalled",
                t_capture_ns=self.t_ns if valid else None, latency_ms=LatencyMs(total=9.0), faces=list(faces),
            )  # fmt: skip
            self.told += [(self.frame, each) for each in self._reactions.step(message)]
        return self

    @property
    def events(self) -> list[str]:
        return [each.event for _, each in self.told]


class TestExpressions:
    def test_a_smile_begins_and_ends(self) -> None:
        watched = Watched().show(30, face("neutral")).show(30, face("happiness")).show(30, face("neutral"))
        assert watched.events == ["smile_started", "smile_ended"]
        (began, first), (ended, last) = watched.told
        assert first.onset_ns == START_NS + 31 * STEP_NS
        assert began == 31 + 5
        assert first.delay_ms == pytest.approx(5 * 33.333 + 9, abs=0.1)
        assert last.onset_ns == START_NS + 61 * STEP_NS
        assert ended == 61 + 15

    def test_the_labels_own_onset_is_the_events(self) -> None:
        onset_ns = START_NS + 25 * STEP_NS
        watched = Watched().show(30, face("neutral")).show(5, face("happiness", onset_ns=onset_ns))
        ((_, reaction),) = watched.told
        assert reaction.onset_ns == onset_ns
        assert reaction.delay_ms == pytest.approx((31 - 25) * 33.333 + 9, abs=0.1)

    def test_a_flicker_is_none(self) -> None:
        watched = Watched().show(30, face("neutral"))
        for _ in range(10):
            watched.show(3, face("happiness")).show(3, face("neutral"))
        assert watched.events == []
        watched.show(20, face("happiness"))
        for _ in range(10):
            watched.show(9, face(None)).show(3, face("happiness"))
        assert watched.events == ["smile_started"]

    def test_unsure_is_no_smile_and_not_ready_says_nothing(self) -> None:
        watched = Watched().show(30, face("happiness")).show(20, face(None, ready=False, reason="starved"))
        assert watched.events == ["smile_started"]
        watched.show(40, face(None, ready=False, reason="starved"))
        assert watched.events == ["smile_started", "smile_ended"]
        assert watched.told[1][1].onset_ns == START_NS + 30 * STEP_NS, "when it was last seen"
        assert Watched().show(60, face(None)).events == []

    def test_one_expression_after_another_ends_the_first(self) -> None:
        watched = Watched().show(30, face("anger")).show(30, face("surprise"))
        assert watched.events == ["anger_started", "surprise_started", "anger_ended"]


class TestAttention:
    def test_looking_at_the_camera_and_away(self) -> None:
        watched = Watched().show(30, face(head=Head(5.0, -3.0, 0.0))).show(45, face(head=Head(45.0, 0.0, 0.0)))
        assert watched.events == ["attention_gained", "attention_lost"]
        assert watched.told[1][1].onset_ns == START_NS + 31 * STEP_NS
        assert watched.told[1][1].delay_ms == pytest.approx(1000 + 9, abs=34)

    def test_a_glance_aside_is_no_loss(self) -> None:
        watched = Watched().show(30, face(head=Head(0.0, 0.0, 0.0)))
        watched.show(20, face(head=Head(60.0, 0.0, 0.0))).show(30, face(head=Head(0.0, 0.0, 0.0)))
        assert watched.events == ["attention_gained"]

    def test_who_never_looked_here_is_not_lost(self) -> None:
        assert Watched().show(90, face(head=Head(60.0, 0.0, 0.0))).events == []

    def test_a_head_that_swings_about_the_limit(self) -> None:
        watched = Watched().show(30, face(head=Head(24.0, 0.0, 0.0)))
        watched.show(60, face(head=Head(28.0, 0.0, 0.0)))
        assert watched.events == ["attention_gained"]


class TestEyes:
    def test_blinks_and_winks_are_none(self) -> None:
        watched = Watched().show(30, face(eyes=Eyes(0.9, 0.9)))
        watched.show(6, face(eyes=Eyes(0.0, 0.0))).show(30, face(eyes=Eyes(0.9, 0.0)))
        assert watched.events == []

    def test_closed_and_opened(self) -> None:
        watched = Watched().show(30, face(eyes=Eyes(0.9, 0.9))).show(40, face(eyes=Eyes(0.1, None)))
        watched.show(10, face(eyes=Eyes(0.9, 0.9)))
        assert watched.events == ["eyes_closed", "eyes_opened"]


def test_whatever_began_ends_with_the_face_and_with_the_camera() -> None:
    smiling = face("happiness", head=Head(0.0, 0.0, 0.0), eyes=Eyes(0.05, 0.05))
    for ending in ({"frames": 1}, {"frames": 1, "valid": False}):
        watched = Watched().show(60, smiling)
        watched.show(**ending)  # type: ignore[arg-type]
        assert sorted(watched.events[3:]) == ["attention_lost", "eyes_opened", "smile_ended"]
        assert all(each.onset_ns == START_NS + 60 * STEP_NS for _, each in watched.told[3:])
    lost = Watched().show(60, smiling).show(1, face("happiness", state="lost"))
    assert sorted(lost.events[3:]) == ["attention_lost", "eyes_opened", "smile_ended"]


def test_two_faces_are_told_apart() -> None:
    watched = Watched().show(30, face("happiness"), face("neutral", id="2"))
    watched.show(30, face("neutral"), face("happiness", id="2"))
    assert [(each.face, each.event) for _, each in watched.told] == [
        ("1", "smile_started"), ("2", "smile_started"), ("1", "smile_ended"),
    ]  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.integers(1, 40),
            st.sampled_from([None, "happiness", "neutral", "anger"]),
            st.sampled_from([0.0, 29.0, 60.0]),
            st.sampled_from([None, 0.0, 0.9]),
            st.sampled_from(["ready", "starved", "gone", "camera"]),
        ),
        max_size=12,
    )
)
def test_beginnings_and_ends_alternate_and_onsets_are_of_the_past(
    parts: list[tuple[int, str | None, float, float | None, str]],
) -> None:
    watched = Watched()
    for frames, label, yaw, eye, how in parts:
        ready = how == "ready"
        seen = face(
            label if ready else None, ready=ready, reason="ok" if ready else "starved",
            head=Head(yaw, 0.0, 0.0), eyes=Eyes(eye, eye),
        )  # fmt: skip
        watched.show(frames, *([] if how in ("gone", "camera") else [seen]), valid=how != "camera")
    watched.show(1)
    on: set[str] = set()
    for frame, reaction in watched.told:
        assert reaction.event in EVENTS
        assert START_NS <= reaction.onset_ns <= START_NS + frame * STEP_NS
        assert reaction.delay_ms >= 0
        name, began = next((name, pair[0] == reaction.event) for name, pair in _PAIRS.items() if reaction.event in pair)
        assert (name in on) != began, "begins only when it is over, ends only when it began"
        (on.add if began else on.discard)(name)
    assert not on


def test_events_carry_onset_and_delay_over_the_wire() -> None:
    envelope = Envelope("c", Model("m", "0", "fp32", "openvino", ("a", "b")))
    event = envelope.event("smile_started", 5_000, "1", 3_000, 0.12)
    assert decode(encode(event), Event) == event
    assert (event.t_onset_ns, event.delay_ms) == (3_000, 0.12)
    assert set(EXPRESSION_EVENTS) <= {"happiness", "sadness", "anger", "surprise", "disgust", "fear"}
