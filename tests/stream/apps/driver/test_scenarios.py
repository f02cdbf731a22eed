"""Thirty drives with names people know, and what the policy must say of each."""

from __future__ import annotations

import pytest

from stream.apps.driver.settings import DriverSettings
from stream.publish.message import Eyes
from tests.stream.apps.driver.drives import (
    CALM,
    Drive,
    calm,
    driver_face,
    glances,
    left_seat,
    on_the_road,
)

ANGRY = {**dict.fromkeys(CALM, 0.03), "anger": 0.82}


def test_a_calm_minute_is_learned_and_then_fine() -> None:
    drive = Drive(DriverSettings()).drive(59)
    assert {state.state for state in drive.states} == {"learning"}
    drive.drive(4)
    assert drive.now.state == "fine"
    assert drive.now.baseline.yaw == 2.0
    assert drive.now.baseline.eyes_open == 0.8
    assert drive.now.reason == "ok"


def test_mirror_checks_at_a_normal_rate() -> None:
    drive = on_the_road()
    mark = len(drive.states)
    drive.drive(60, glances(8, 0.9, yaw=48.0, eyes=None))
    assert {state.state for state in drive.since(mark)} == {"fine"}


def test_a_long_look_at_the_passenger() -> None:
    drive = on_the_road()
    said: dict[str, float] = {}
    for k in range(8 * 15):
        said.setdefault(drive.show([driver_face(yaw=55.0)]).findings["distraction"].level, (k + 1) / 15)
    assert said["notice"] == pytest.approx(2.0, abs=0.2)
    assert said["warning"] == pytest.approx(3.5, abs=0.2)
    assert said["alarm"] == pytest.approx(6.0, abs=0.2)
    assert drive.now.state == "alarm"
    drive.drive(1)
    assert drive.now.state == "alarm", "a level stays until the head was back for two seconds"
    drive.drive(2)
    assert drive.now.findings["distraction"].level == "none"
    assert drive.now.state == "notice", "eight of the last thirty seconds were not spent on the road"
    drive.drive(25)
    assert drive.now.state == "fine"


def test_a_phone_in_the_lap() -> None:
    drive = on_the_road()
    # Lids cover the eyes of who looks down: that is no microsleep.
    drive.drive(4, lambda t: {"pitch": -34.0, "eyes": 0.1})
    assert drive.now.findings["distraction"].level == "warning"
    assert drive.highest("eye_closure") == "none"


def test_a_phone_glanced_at_again_and_again() -> None:
    drive = on_the_road()
    mark = len(drive.states)
    drive.drive(30, glances(3, 1.4, pitch=-34.0, eyes=0.2))
    assert drive.highest("time_sharing", mark) == "warning"
    assert drive.highest("distraction", mark) == "none"


def test_the_dashboard_at_a_normal_rate() -> None:
    drive = on_the_road()
    mark = len(drive.states)
    drive.drive(40, glances(6, 0.8, pitch=-26.0))
    assert {state.state for state in drive.since(mark)} == {"fine"}


def test_a_tunnel() -> None:
    drive = on_the_road()
    mark = len(drive.states)
    drive.drive(1.2, lambda t: {"state": "coasting", "eyes": None, "yaw": None, "ready": False, "reason": "occluded"})
    dark = drive.since(mark)
    assert dark[-1].state == "unknown"
    assert dark[-1].reason == "head_unseen"
    assert {state.state for state in dark} <= {"fine", "unknown"}
    drive.drive(2)
    assert drive.now.state == "fine"
    assert all(finding.level == "none" for finding in drive.now.findings.values())


def test_a_long_tunnel_with_no_light_at_all() -> None:
    drive = on_the_road()
    drive.drive(4, faces=lambda t: [])
    assert drive.now.state == "notice"
    assert drive.now.reason == "no_driver"


def test_sunglasses() -> None:
    drive = on_the_road()
    mark = len(drive.states)
    drive.drive(9, lambda t: {"eyes": None})
    assert drive.now.state == "unknown"
    assert drive.now.reason == "eyes_unseen"
    drive.drive(6, lambda t: {"eyes": None})
    assert drive.now.findings["occlusion"].level == "notice"
    # The head is judged all the same.
    drive.drive(4, lambda t: {"eyes": None, "yaw": -50.0})
    assert drive.now.findings["distraction"].level == "warning"
    assert not drive.now.findings["eye_closure"].known
    assert "fine" not in {state.state for state in drive.since(mark + 15 * 4)}


def test_sunglasses_from_the_start() -> None:
    drive = Drive().drive(30, lambda t: {"eyes": None})
    assert "fine" not in {state.state for state in drive.states}
    assert drive.now.findings["occlusion"].level == "notice"


def test_a_yawn_while_singing() -> None:
    drive = on_the_road()
    mark = len(drive.states)
    # Syllables of half a second, and one real yawn among them.
    drive.drive(20, lambda t: calm(t) | {"mouth": 0.75 if t % 0.9 < 0.5 else 0.2})
    drive.drive(5, lambda t: {"mouth": 0.9, "eyes": 0.4})
    drive.drive(20, lambda t: calm(t) | {"mouth": 0.75 if t % 0.9 < 0.5 else 0.2})
    assert drive.now.findings["yawning"].value == 1
    assert {state.state for state in drive.since(mark)} == {"fine"}


def test_yawn_after_yawn() -> None:
    drive = on_the_road()
    for _ in range(4):
        drive.drive(5, lambda t: {"mouth": 0.9, "eyes": 0.4}).drive(15)
    assert drive.now.findings["yawning"].value == 4
    assert drive.now.findings["yawning"].level == "notice"


def test_ordinary_blinks() -> None:
    drive = on_the_road()
    drive.drive(60)
    perclos = drive.now.findings["perclos"]
    assert perclos.value == pytest.approx(0.033, abs=0.02)
    assert (perclos.level, drive.now.findings["long_blinks"].value) == ("none", 0)


def test_slow_blinks() -> None:
    drive = on_the_road()
    drive.drive(60, lambda t: {"eyes": 0.05 if t % 10 < 0.7 else 0.8})
    assert drive.now.findings["long_blinks"].level == "warning"
    assert drive.highest("eye_closure") == "none"


def test_heavy_lids_for_a_minute() -> None:
    drive = on_the_road()
    mark = len(drive.states)
    drive.drive(60, lambda t: {"eyes": 0.08 if t % 3 < 0.4 else 0.6})
    assert drive.highest("perclos", mark) == "warning"
    assert drive.now.findings["perclos"].value == pytest.approx(0.13, abs=0.03)
    assert drive.highest("eye_closure", mark) == "none"


def test_a_microsleep() -> None:
    drive = on_the_road()
    drive.drive(1.4, lambda t: {"eyes": 0.03})
    assert drive.now.findings["eye_closure"].level == "warning"
    drive.drive(3)
    assert drive.now.state == "warning", "it stays for five seconds"
    drive.drive(4)
    assert drive.now.state == "fine"


def test_asleep() -> None:
    drive = on_the_road()
    drive.drive(3.5, lambda t: {"eyes": 0.03})
    assert drive.now.state == "alarm"
    assert drive.now.findings["eye_closure"].seconds == pytest.approx(3.4, abs=0.2)


def test_asleep_with_the_head_sinking() -> None:
    drive = on_the_road()
    drive.drive(0.8, lambda t: {"eyes": 0.03}).drive(3, lambda t: {"eyes": 0.03, "pitch": -35.0})
    assert drive.now.findings["eye_closure"].level == "alarm"


def test_narrow_eyes_are_judged_by_their_own_measure() -> None:
    drive = Drive().drive(14, lambda t: {"eyes": 0.05 if t % 4 < 0.13 else 0.34})
    assert drive.now.state == "fine"
    drive.drive(30, lambda t: {"eyes": 0.05 if t % 4 < 0.13 else 0.34})
    assert drive.highest("perclos") == "none"
    drive.drive(2, lambda t: {"eyes": 0.04})
    assert drive.now.findings["eye_closure"].level == "warning"


def test_a_wink_is_no_closure() -> None:
    drive = on_the_road()
    for _ in range(30):
        wink = driver_face()
        wink.eyes = Eyes(0.02, 0.8)
        drive.show([wink])
    assert drive.highest("eye_closure") == "none"


def test_a_camera_beside_the_wheel() -> None:
    drive = Drive().drive(14, lambda t: calm(t) | {"yaw": -32.0, "pitch": 15.0})
    assert drive.now.state == "fine", "who drives looks past this camera"
    drive.drive(4, lambda t: {"yaw": 5.0, "pitch": 10.0})
    assert drive.now.findings["distraction"].level == "warning", "and who looks into it does not look at the road"


def test_a_restless_head_gives_no_baseline() -> None:
    drive = Drive().drive(40, lambda t: calm(t) | {"yaw": 40.0 if t % 4 < 2 else -40.0})
    assert not drive.now.baseline.learned
    assert "fine" not in {state.state for state in drive.states}


def test_asleep_from_the_first_minute_gives_no_baseline() -> None:
    drive = Drive().drive(40, lambda t: {"eyes": 0.04})
    assert not drive.now.baseline.learned
    assert "fine" not in {state.state for state in drive.states}


def test_a_passenger_leaning_in() -> None:
    drive = Drive(left_seat()).drive(14, faces=lambda t: [driver_face(box=(90.0, 120.0, 140.0, 180.0), **calm(t))])
    mark = len(drive.states)
    near = driver_face(id="p1", box=(330.0, 60.0, 280.0, 340.0), yaw=60.0, primary=True)
    drive.drive(5, faces=lambda t: [driver_face(box=(90.0, 120.0, 140.0, 180.0), primary=False, **calm(t)), near])
    assert {state.face for state in drive.since(mark)} == {"d1"}
    assert {state.state for state in drive.since(mark)} == {"fine"}


def test_a_passenger_leaning_into_the_seat_does_not_become_the_driver() -> None:
    drive = on_the_road()
    mark = len(drive.states)
    near = driver_face(id="p1", box=(300.0, 60.0, 280.0, 340.0), yaw=60.0, primary=True)
    drive.drive(5, faces=lambda t: [near, driver_face(primary=False, **calm(t))])
    assert {state.face for state in drive.since(mark)} == {"d1"}
    assert {state.state for state in drive.since(mark)} == {"fine"}


def test_somebody_in_the_wrong_seat() -> None:
    drive = Drive(left_seat()).drive(14, faces=lambda t: [driver_face(box=(80.0, 120.0, 140.0, 180.0), **calm(t))])
    assert drive.now.state == "fine"
    drive.drive(12, faces=lambda t: [driver_face(id="p1", box=(420.0, 120.0, 140.0, 180.0))])
    assert drive.now.findings["wrong_seat"].level == "warning"
    assert drive.now.findings["absence"].level == "none"
    assert drive.now.face is None


def test_nobody_at_the_wheel() -> None:
    drive = on_the_road()
    drive.drive(2.5, faces=lambda t: [])
    assert drive.now.findings["absence"].level == "notice"
    drive.drive(9, faces=lambda t: [])
    assert drive.now.state == "alarm"


def test_another_driver_is_learned_anew() -> None:
    drive = on_the_road()
    drive.drive(7, faces=lambda t: [])
    mark = len(drive.states)
    drive.drive(8, lambda t: calm(t) | {"id": "d2", "yaw": -20.0})
    assert not drive.now.baseline.learned
    assert "fine" not in {state.state for state in drive.since(mark)}
    drive.drive(6, lambda t: calm(t) | {"id": "d2", "yaw": -20.0})
    assert drive.now.state == "fine"
    assert drive.now.baseline.yaw == -20.0


def test_a_hand_before_the_face() -> None:
    drive = on_the_road()
    mark = len(drive.states)
    drive.drive(3, lambda t: {"eyes": None, "yaw": None, "ready": False, "reason": "occluded"})
    assert "fine" not in {state.state for state in drive.since(mark + 6)}
    drive.drive(9, lambda t: {"eyes": None, "yaw": None, "ready": False, "reason": "occluded"})
    assert drive.now.findings["occlusion"].level == "notice"


def test_camera_loss_at_100_km_h() -> None:
    drive = on_the_road()
    mark = len(drive.states)
    drive.blind(3)
    assert {(state.state, state.reason) for state in drive.since(mark)} == {("unknown", "no_camera")}
    assert not any(finding.known for finding in drive.now.findings.values())
    back = len(drive.states)
    drive.drive(3)
    good = [state.state for state in drive.since(back)]
    assert "fine" not in good[:15]
    assert good[-1] == "fine"


def test_camera_loss_while_asleep() -> None:
    drive = on_the_road()
    drive.drive(3.5, lambda t: {"eyes": 0.03})
    assert drive.now.state == "alarm"
    drive.blind(4)
    assert (drive.now.state, drive.now.valid) == ("alarm", False), "nothing says that the driver woke up"
    drive.blind(3)
    assert drive.now.state == "unknown"


@pytest.mark.parametrize("reason", ["no_camera", "stalled", "frozen", "ended"])
def test_every_reason_of_the_daemon_is_passed_on(reason: str) -> None:
    drive = on_the_road()
    drive.blind(1, reason)
    assert (drive.now.state, drive.now.reason) == ("unknown", reason)


def test_the_daemon_dies() -> None:
    drive = on_the_road()
    mark = len(drive.states)
    drive.silence(2)
    words = [state.state for state in drive.since(mark)]
    assert words[:5] == ["fine"] * 5
    assert set(words[6:]) == {"unknown"}
    assert drive.now.reason == "no_message"


def test_the_daemon_restarts() -> None:
    drive = on_the_road()
    drive.silence(1)
    drive.session, drive.seq = "daemon-2", 0
    mark = len(drive.states)
    drive.drive(3, lambda t: calm(t) | {"id": "1"})
    assert "fine" not in [state.state for state in drive.since(mark)][:15]
    assert drive.now.state == "fine", "the driver is still the one who was learned"


@pytest.mark.parametrize("step_s", [-2.0, 3.0, 3600.0, -3600.0])
def test_a_clock_jump(step_s: float) -> None:
    drive = on_the_road()
    drive.capture_offset_ns = int(step_s * 1e9)
    mark = len(drive.states)
    drive.drive(0.5)
    assert "fine" not in {state.state for state in drive.since(mark)}
    drive.capture_offset_ns = 0
    drive.drive(4)
    assert drive.now.state == "fine"


def test_the_readers_own_clock_jumps_back() -> None:
    drive = on_the_road()
    drive.now_ns -= 5_000_000_000
    mark = len(drive.states)
    drive.drive(0.8)
    assert "fine" not in {state.state for state in drive.since(mark)}


def test_a_backlog_read_late() -> None:
    drive = on_the_road()
    mark = len(drive.states)
    late = [drive.message([driver_face()], t_capture_ns=drive.now_ns + k * 66_000_000) for k in range(1, 40)]
    drive.now_ns += 5_000_000_000
    for message in late:
        drive.send(message)
    assert {(state.state, state.reason) for state in drive.since(mark)} == {("unknown", "stale")}


def test_messages_that_cannot_be_read() -> None:
    drive = on_the_road()
    for _ in range(10):
        drive.show([driver_face()])
        drive.send(None, unreadable=True)
    assert drive.now.reason == "unreadable"
    assert drive.now.state == "unknown"


def test_messages_out_of_order() -> None:
    drive = on_the_road()
    old = drive.message([driver_face()])
    drive.show([driver_face()])
    assert drive.send(old).state == "unknown"


def test_a_publisher_without_eyes_and_head() -> None:
    drive = Drive().drive(20, lambda t: {"eyes": None, "yaw": None, "mouth": None})
    assert "fine" not in {state.state for state in drive.states}
    assert drive.now.reason == "head_unseen"


def test_anger_for_half_a_minute() -> None:
    drive = on_the_road()
    drive.drive(28, lambda t: calm(t) | {"scores": ANGRY})
    assert drive.now.state == "fine"
    drive.drive(60, lambda t: calm(t) | {"scores": ANGRY})
    assert drive.now.findings["negative_affect"].level == "notice"
    assert drive.now.state == "notice", "and never more"


def test_a_stern_face_is_no_anger() -> None:
    stern = {**CALM, "neutral": 0.35, "anger": 0.45}
    drive = Drive().drive(14, lambda t: calm(t) | {"scores": stern})
    drive.drive(40, lambda t: calm(t) | {"scores": {**CALM, "neutral": 0.25, "anger": 0.55}})
    assert drive.highest("negative_affect") == "none"


def test_scores_that_are_not_ready_say_nothing_of_affect() -> None:
    drive = on_the_road()
    drive.drive(40, lambda t: calm(t) | {"scores": ANGRY, "ready": False, "reason": "warming"})
    assert drive.highest("negative_affect") == "none"
