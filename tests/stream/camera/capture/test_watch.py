"""The watch: which silence is which state. No process, no sleep: events and times only."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from stream.camera.capture.frozen import FrozenDetector
from stream.camera.capture.slot import IDLE_FOR_EVER
from stream.camera.capture.watch import STATES, Backoff, Watch
from stream.camera.settings import CameraSettings

MS = 1_000_000


def running(fps: float = 30.0, can_freeze: bool = False, frames: int = 5, **settings: int) -> tuple[Watch, int]:
    """A watch that has seen ``frames`` frames, and the time of the last one."""
    watch = Watch(CameraSettings(**settings), can_freeze)  # type: ignore[arg-type]
    watch.opening(0)
    watch.opened(MS, fps)
    t_ns = 0
    for seq in range(frames):
        t_ns = MS + round(seq * 1e9 / fps)
        watch.frame(seq, t_ns, t_ns, seq)
    return watch, t_ns


def test_before_the_first_frame_there_is_no_camera() -> None:
    watch, _ = running(frames=0)
    status = watch.check(3000 * MS, 0, 0)
    assert (status.state, status.restart) == ("no_camera", False)
    assert watch.check(8001 * MS, 0, 0).restart


def test_silence_is_a_stall_within_half_a_second_then_a_restart() -> None:
    watch, last_ns = running()
    status = watch.check(last_ns + 399 * MS, last_ns, 0)
    assert (status.state, status.restart, status.check_again_ns) == ("ok", False, last_ns + 400 * MS)
    status = watch.check(last_ns + 400 * MS, last_ns, 0)
    assert (status.state, status.restart, status.check_again_ns) == ("stalled", False, last_ns + 2000 * MS)
    assert watch.check(last_ns + 2000 * MS, last_ns, 0).restart
    watch.opening(last_ns + 2100 * MS)
    watch.opened(last_ns + 2200 * MS, 30)
    assert watch.check(last_ns + 2300 * MS, 0, 0).state == "stalled"
    watch.frame(9, last_ns + 2301 * MS, last_ns + 2301 * MS, 9)
    assert watch.state == "ok"


def test_a_slow_camera_has_longer() -> None:
    watch, last_ns = running(fps=2.0)
    assert watch.check(last_ns + 1200 * MS, last_ns, 0).state == "ok"
    assert watch.check(last_ns + 1250 * MS, last_ns, 0).state == "stalled"


def test_a_rate_that_is_declared_wrongly_is_learnt() -> None:
    watch, _ = running(fps=25.0, frames=0)
    for seq in range(40):
        watch.frame(seq, seq * 1000 * MS, seq * 1000 * MS, seq)
    assert 2300 * MS < watch.stall_ns <= 2500 * MS


def test_frames_not_yet_delivered_count_as_heard() -> None:
    watch, last_ns = running()
    assert watch.check(last_ns + 5000 * MS, last_ns + 4900 * MS, 0).state == "ok"


def test_waiting_on_purpose_is_no_stall() -> None:
    watch, last_ns = running()
    assert watch.check(last_ns + 60_000 * MS, last_ns, IDLE_FOR_EVER).state == "ok"
    assert watch.check(last_ns + 1000 * MS, last_ns, last_ns + 1500 * MS).state == "ok"
    assert watch.check(last_ns + 1900 * MS, last_ns, last_ns + 1500 * MS).state == "stalled"


def test_loss_end_and_a_hanging_open() -> None:
    watch, last_ns = running()
    watch.lost(last_ns + MS)
    assert watch.state == "no_camera"
    watch.opening(last_ns + 2 * MS)
    assert not watch.check(last_ns + 9000 * MS, last_ns, 0).restart
    assert watch.check(last_ns + 9600 * MS, last_ns, 0).restart
    watch.ended()
    assert watch.check(last_ns + 99_000 * MS, last_ns, 0).state == "ended"


def test_a_frame_captured_before_the_loss_does_not_bring_the_camera_back() -> None:
    watch, last_ns = running()
    watch.lost(last_ns + 50 * MS)
    watch.frame(9, last_ns + 40 * MS, last_ns + 40 * MS, 9)
    assert watch.state == "no_camera"
    watch.frame(10, last_ns + 60 * MS, last_ns + 60 * MS, 10)
    assert watch.state == "ok"


def test_a_repeated_frame_is_frozen_within_a_second_and_opened_again_ever_more_rarely() -> None:
    watch, last_ns = running(can_freeze=True)
    start_ns = last_ns + 33 * MS
    t_ns = start_ns
    while watch.state == "ok":
        watch.frame(9, t_ns, t_ns, 77)
        t_ns += 33 * MS
    assert watch.state == "frozen"
    assert t_ns - start_ns <= 1000 * MS
    waits = []
    for _ in range(7):
        since_ns = t_ns
        while not watch.check(t_ns, t_ns, 0).restart:
            t_ns += 33 * MS
            watch.frame(9, t_ns, t_ns, 77)
        waits.append(round((t_ns - since_ns) / 1e9))
        watch.opening(t_ns)
        watch.opened(t_ns, 30)
        assert watch.state == "frozen"
    assert waits == [2, 4, 8, 16, 32, 32, 32]
    watch.frame(10, t_ns, t_ns, 78)
    assert watch.state == "ok"


def test_streams_never_freeze() -> None:
    watch, t_ns = running(can_freeze=False)
    for _ in range(100):
        t_ns += 33 * MS
        watch.frame(9, t_ns, t_ns, 77)
        assert watch.state == "ok"


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 400)), max_size=60))
def test_frozen_is_exactly_a_run_of_equal_frames(frames: list[tuple[int, int]]) -> None:
    """Against a plain search of the whole history."""
    detector = FrozenDetector(900 * MS)
    history: list[tuple[int, int]] = []
    t_ns = 0
    for value, step_ms in frames:
        t_ns += step_ms * MS
        history.append((value, t_ns))
        assert detector.step(value, t_ns) == frozen_run(history)


def frozen_run(history: list[tuple[int, int]]) -> bool:
    run: list[int] = []
    for value, t_ns in reversed(history):
        if value != history[-1][0]:
            break
        run.append(t_ns)
    return len(run) >= 3 and run[0] - run[-1] >= 900 * MS


def test_zero_turns_the_frozen_detector_off() -> None:
    detector = FrozenDetector(0)
    assert not any(detector.step(1, t * 1000 * MS) for t in range(20))


def pauses(backoff: Backoff, failures: int) -> Iterable[int]:
    return [backoff.fail() for _ in range(failures)]


def test_backoff_doubles_to_its_limit_and_starts_over() -> None:
    backoff = Backoff(100, 1000)
    assert pauses(backoff, 6) == [100, 200, 400, 800, 1000, 1000]
    backoff.reset()
    assert pauses(backoff, 2) == [100, 200]


@given(
    st.lists(
        st.tuples(st.sampled_from(["opening", "opened", "lost", "frame", "judge"]), st.integers(0, 3000)),
        max_size=50,
    )
)
def test_any_order_of_events_gives_a_known_state_and_a_time_to_check_again(
    events: list[tuple[str, int]],
) -> None:
    watch = Watch(CameraSettings(), True)
    now_ns, arrival_ns = 1, 0
    for seq, (event, step_ms) in enumerate(events):
        now_ns += step_ms * MS
        if event == "frame":
            arrival_ns = now_ns
            watch.frame(seq, now_ns, now_ns, 1)
        elif event == "opened":
            watch.opened(now_ns, 30)
        elif event != "judge":
            getattr(watch, event)(now_ns)
        status = watch.check(now_ns, arrival_ns, 0)
        assert status.state in STATES
        assert status.restart or status.check_again_ns > now_ns
