"""What must hold of the policy whatever comes."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from stream.apps.driver.policy import DriverPolicy
from stream.publish.driver import FINDINGS, LEVELS, STATES, DriverState
from stream.publish.message import MessageError
from stream.publish.wire import decode, encode, schema_path
from tests.stream.apps.driver.drives import Drive, calm, driver_face, on_the_road

VALIDATOR = jsonschema.Draft202012Validator(json.loads(schema_path("driver").read_text()))
BAD = (
    "invalid",
    "no_capture",
    "unreadable",
    "silence",
    "stale",
    "backwards",
    "ahead",
    "repeated",
    "own_clock",
    "restart",
)


def bad_input(drive: Drive, kind: str) -> None:
    """One piece of input that must not be believed."""
    if kind == "invalid":
        drive.show([], valid=False, reason="stalled", t_capture_ns=None)
    elif kind == "no_capture":
        drive.show([driver_face()], t_capture_ns=None)
    elif kind == "unreadable":
        drive.now_ns += 66_000_000
        drive.send(None, unreadable=True)
    elif kind == "silence":
        drive.silence(0.7)
    elif kind == "stale":
        drive.show([driver_face()], t_capture_ns=drive.now_ns - 600_000_000)
    elif kind == "backwards":
        drive.show([driver_face()], t_capture_ns=drive.captured_ns - 50_000_000)
    elif kind == "ahead":
        drive.show([driver_face()], t_capture_ns=drive.now_ns + 1_500_000_000)
    elif kind == "repeated":
        drive.seq -= 1
        drive.show([driver_face()])
    elif kind == "own_clock":
        drive.now_ns -= 200_000_000
        drive.send(None)
    else:
        drive.session += "+"
        drive.show([driver_face()])


class TestNeverFine:
    @pytest.mark.parametrize("kind", BAD)
    def test_each_kind_of_bad_input_ends_fine_at_once_and_for_a_second(self, kind: str) -> None:
        drive = on_the_road()
        mark = len(drive.states)
        bad_input(drive, kind)
        bad_ns = drive.now_ns
        assert drive.now.state != "fine"
        drive.drive(2.5)
        fine = [state for state in drive.since(mark) if state.state == "fine" and state.t_publish_ns >= bad_ns]
        assert fine
        assert fine[0].t_publish_ns - bad_ns > 1_000_000_000

    @settings(max_examples=80)
    @given(st.lists(st.one_of(st.sampled_from(BAD), st.integers(1, 40)), min_size=1, max_size=14))
    def test_no_sequence_says_fine_within_a_second_of_bad_input(self, parts: list[str | int]) -> None:
        drive = on_the_road()
        bad_ns: int | None = None
        for part in parts:
            if isinstance(part, str):
                bad_input(drive, part)
                assert drive.now.state != "fine"
                bad_ns, mark = drive.now_ns, len(drive.published)
                continue
            for k in range(part):
                drive.show([driver_face(**calm(k / 15))])
                if bad_ns is not None and drive.now_ns - bad_ns <= 1_000_000_000:
                    assert drive.now.state != "fine"
                    assert all(state.state != "fine" for state in drive.published[mark:])

    @given(st.sampled_from(["eyes", "yaw", "pitch", "mouth"]), st.sampled_from([math.nan, math.inf, -math.inf]))
    def test_figures_that_are_none_are_not_seen(self, name: str, value: float) -> None:
        drive = on_the_road()
        drive.drive(4, lambda t: {name: value})
        assert name == "mouth" or drive.now.state != "fine"
        assert all(finding.level == "none" for finding in drive.now.findings.values())

    def test_a_policy_that_heard_nothing_says_unknown(self) -> None:
        policy = DriverPolicy("cam0", "s", "b")
        (state,) = policy.step(None, 5)
        assert (state.state, state.reason, state.valid) == ("unknown", "no_message", False)


class TestEscalation:
    @settings(max_examples=25)
    @given(
        st.sampled_from(
            [
                ("distraction", {"yaw": 50.0}),
                ("distraction", {"pitch": -40.0}),
                ("time_sharing", {"yaw": -50.0}),
                ("eye_closure", {"eyes": 0.02}),
                ("perclos", {"eyes": 0.02}),
                ("occlusion", {"eyes": None}),
                ("absence", None),
            ]
        ),
        st.floats(0.1, 20),
        st.floats(0.1, 20),
    )
    def test_longer_is_never_judged_milder(
        self, condition: tuple[str, dict[str, Any] | None], one_s: float, other_s: float
    ) -> None:
        name, look = condition

        def reached(seconds: float) -> int:
            drive = on_the_road()
            mark = len(drive.states)
            drive.drive(seconds, lambda t: calm(t) | (look or {}), faces=(lambda t: []) if look is None else None)
            levels = [LEVELS.index(state.findings[name].level) for state in drive.since(mark)]
            assert levels == sorted(levels), "nor does it fall while it lasts"
            return levels[-1] if levels else 0

        short, long = sorted((one_s, other_s))
        assert reached(short) <= reached(long)

    def test_a_level_does_not_flicker(self) -> None:
        drive = on_the_road()
        mark = len(drive.states)
        # The head swings about the limit of 32 degrees, frame by frame.
        for k in range(60):
            drive.show([driver_face(yaw=33.5 if k % 2 else 31.0)])
        levels = [state.findings["distraction"].level for state in drive.since(mark)]
        assert sum(a != b for a, b in itertools.pairwise(levels)) == len(set(levels)) - 1
        assert levels[-1] == "warning"

    def test_the_state_is_the_highest_level(self) -> None:
        drive = on_the_road()
        drive.drive(5, lambda t: {"yaw": 50.0, "eyes": 0.02})
        assert drive.now.findings["distraction"].level == "warning"
        assert drive.now.findings["eye_closure"].level == "alarm"
        assert drive.now.state == "alarm"


class TestPublishing:
    def test_a_change_at_once_and_else_five_times_a_second(self) -> None:
        drive = on_the_road()
        mark = len(drive.published)
        drive.drive(10, lambda t: {})
        assert 45 <= len(drive.published) - mark <= 52
        drive.show([], valid=False, reason="frozen", t_capture_ns=None)
        assert drive.published[-1].reason == "frozen"
        assert [state.seq for state in drive.published] == list(range(1, len(drive.published) + 1))

    def test_every_message_fits_its_schema_and_reads_back(self) -> None:
        drive = on_the_road()
        drive.drive(7, lambda t: {"yaw": 50.0}).blind(7).drive(3, faces=lambda t: []).silence(1)
        assert {state.state for state in drive.published} == set(STATES)
        for state in drive.published:
            body = encode(state)
            VALIDATOR.validate(json.loads(body))
            assert decode(body, DriverState) == state

    def test_fine_without_a_face_is_not_of_the_schema(self) -> None:
        body = json.loads(encode(on_the_road().now))
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(body | {"face": None})
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(body | {"valid": False})

    def test_what_the_schema_does_not_know_is_refused(self) -> None:
        state = on_the_road().now
        with pytest.raises(MessageError, match="state 'great'"):
            encode(replace(state, state="great"))
        with pytest.raises(MessageError, match="findings must be"):
            encode(replace(state, findings={}))
        fine = replace(state, state="fine", reason="ok", valid=True, face="f1")
        assert decode(encode(fine), DriverState) == fine
        for change in ({"valid": False}, {"reason": "stale"}, {"face": None}):
            with pytest.raises(MessageError, match="fine only"):
                encode(replace(fine, **change))
        with pytest.raises(MessageError, match="another|expected dfer.driver/1"):
            decode(encode(state).replace(b"dfer.driver/1.0", b"dfer.driver/2.0"), DriverState)
        with pytest.raises(MessageError, match="not a driver message"):
            decode(b"{}", DriverState)

    def test_the_schema_names_what_there_is(self) -> None:
        schema = json.loads(schema_path("driver").read_text())
        assert set(schema["properties"]) == set(DriverState.__struct_fields__)
        assert tuple(schema["properties"]["findings"]["required"]) == FINDINGS
        assert tuple(schema["properties"]["state"]["examples"]) == STATES
