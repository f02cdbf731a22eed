from __future__ import annotations

import pytest

from stream.publish.wire import encode
from stream.recording.mcap_file import RecordingError
from stream.recording.recorder import MOST_BODY_BYTES, Recorder, Trigger
from tests.stream.recording.wire import event, faces, frame


class Out:
    def __init__(self) -> None:
        self.written: list[tuple[str, bytes]] = []
        self.triggers: list[int] = []
        self.times: list[int] = []

    def write(self, topic: str, body: bytes, log_ns: int) -> None:
        self.written.append((topic, body))
        self.times.append(log_ns)

    def trigger(self, log_ns: int) -> None:
        self.triggers.append(log_ns)


def recorder(*triggers: str) -> tuple[Recorder, Out, list[str]]:
    out, said = Out(), list[str]()
    return Recorder(out, tuple(map(Trigger.parse, triggers)), said.append), out, said  # type: ignore[arg-type]


def test_every_message_is_written_as_it_came() -> None:
    one, out, _ = recorder()
    sent = [frame(1), event(1), b"faces/cam1 " + encode(faces(2)).replace(b'"seq"', b' "seq"')]
    for each in sent:
        one.take(each, 0)
    assert [f"{topic} ".encode() + body for topic, body in out.written] == sent
    assert (one.written, one.lost, one.skipped) == (3, 0, 0)


def test_what_is_missing_is_counted_and_said_and_a_new_session_is_no_loss() -> None:
    one, _, said = recorder()
    for seq in (1, 2, 6, 7):
        one.take(frame(seq), 0)
    one.take(frame(1, session="s2"), 0)
    one.take(frame(2, session="s2"), 0)
    assert (one.written, one.lost) == (6, 3)
    assert said == ["faces/cam1: 3 messages lost before seq 6"]


def test_a_status_that_is_only_sent_again_is_written_once() -> None:
    one, out, _ = recorder()
    for seq in (1, 1, 2, 2):
        one.take(b'status/cam1 {"session": "s", "seq": %d}' % seq, 0)
    assert len(out.written) == 2


@pytest.mark.parametrize(
    "sent",
    [b"", b"faces", b"faces/cam1", b"faces/ {}", b"other/cam1 {}", b"faces/cam1 [", b"faces/a\x1bb {}", b"\xff/x {}"],
)
def test_what_is_no_message_is_counted_and_not_written(sent: bytes) -> None:
    one, out, _ = recorder()
    one.take(sent, 0)
    one.take(b"frames/cam1 " + bytes(MOST_BODY_BYTES), 0)
    assert (out.written, one.skipped) == ([], 2)


def test_topics_without_end_are_not_followed() -> None:
    one, _, _ = recorder()
    for number in range(3000):
        one.take(b'event/cam%d {"session": "s", "seq": 1}' % number, 0)
    assert (one.written, one.skipped) == (1024, 1976)


def test_the_log_time_is_when_a_message_was_published_where_that_clock_is_ours_and_never_runs_back() -> None:
    out = Out()
    one = Recorder(out, (), print, 1000, "b")  # type: ignore[arg-type]
    published = [faces(seq).t_publish_ns for seq in (1, 2)]
    one.take(frame(1), published[0] + 70_000_000)
    one.take(frame(2), published[1] + 20_000_000)
    one.take(b'event/cam9 {"session": "s", "seq": 1, "boot_id": "other", "t_publish_ns": 5}', published[1] + 25_000_000)
    one.take(frame(3).replace(b'"boot_id":"b"', b'"boot_id":"c"'), published[1] + 10_000_000)
    assert out.times == [1000 + t for t in (*published, published[1] + 25_000_000, published[1] + 25_000_000)]


def test_an_event_or_a_label_that_begins_is_a_trigger() -> None:
    one, out, _ = recorder("camera_lost", "label=sadness")
    labels = ["happiness", "sadness", "sadness", None, "sadness"]
    for seq, label in enumerate(labels):
        one.take(frame(seq, label), seq)
    one.take(event(1, "camera_lost"), 10)
    one.take(event(2, "camera_ok"), 11)
    assert out.triggers == [1, 4, 10]


@pytest.mark.parametrize("text", ["", "sadness", "label=", "camera lost"])
def test_a_trigger_that_is_none_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(RecordingError, match=r"neither an event \(face_new, face_lost, .*\) nor label=CLASS"):
        Trigger.parse(text)
