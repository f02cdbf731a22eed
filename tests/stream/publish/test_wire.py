from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.spec import SEVEN_CLASSES
from stream.publish import driver, rules, wire
from stream.publish import message as m
from stream.publish.driver import DriverState
from stream.recording.recorder import Recorder
from tests.stream.recording.wire import event

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
uint = st.integers(0, 2**53)
share = st.floats(0, 1)
names = st.text("abcXYZ019-_", min_size=1, max_size=12)
text = st.text(max_size=20)


def maps(values: st.SearchStrategy[float]) -> st.SearchStrategy[dict[str, float] | None]:
    return st.none() | st.fixed_dictionaries(dict.fromkeys(SEVEN_CLASSES, values))


@st.composite
def face(draw: st.DrawFn) -> m.Face:
    ready = draw(st.booleans())
    return m.Face(
        id=draw(names),
        state=draw(st.sampled_from(m.FACE_STATES)),
        age_frames=draw(uint),
        primary=draw(st.booleans()),
        box=(draw(finite), draw(finite), draw(finite), draw(finite)),
        score=draw(share),
        ready=ready,
        reason="ok" if ready else draw(st.sampled_from(m.FACE_REASONS[1:])),
        window=m.Window(draw(uint), draw(uint), draw(st.floats(0, 1e6)), draw(uint)),
        logits=draw(maps(finite)),
        probs=draw(maps(share)),
        smoothed=draw(maps(share)),
        now=draw(maps(share)),
        label=draw(st.none() | st.sampled_from(SEVEN_CLASSES)) if ready else None,
        confidence=draw(st.none() | share) if ready else None,
        scored_frame_id=draw(st.none() | uint),
        score_age_ms=draw(st.none() | st.floats(0, 1e6)),
        relevance=draw(st.none() | st.lists(share, max_size=16)),
        quality=m.Quality(draw(st.none() | st.floats(0, 1e4)), draw(st.none() | share), draw(st.none() | finite)),
        neutral_shift=draw(maps(finite)),
    )


models = st.builds(m.Model, text, text, text, text, st.just(SEVEN_CLASSES), st.none() | text)


@st.composite
def faces(draw: st.DrawFn) -> m.Faces:
    valid = draw(st.booleans())
    return m.Faces(
        source=draw(names),
        session=draw(text),
        seq=draw(uint),
        frame_id=draw(uint),
        dropped_total=draw(uint),
        t_publish_ns=draw(uint),
        boot_id=draw(text),
        valid=valid,
        reason="ok" if valid else draw(st.sampled_from(m.REASONS[1:])),
        rate_hz=draw(st.none() | st.floats(0.1, 240)),
        t_capture_ns=draw(uint) if valid else draw(st.none() | uint),
        t_capture_unix_ns=draw(st.none() | st.integers(0, 2**63 - 1)),
        t_capture_src=draw(st.none() | st.sampled_from(m.CAPTURE_CLOCKS)),
        degraded=draw(st.lists(st.sampled_from(m.DEGRADED), max_size=3)),
        width=draw(st.none() | uint),
        height=draw(st.none() | uint),
        latency_ms=m.LatencyMs(*draw(st.tuples(*[st.none() | finite] * 4))),
        model=draw(st.none() | models),
        faces=draw(st.lists(face(), max_size=2)),
    )


statuses = st.builds(
    m.Status,
    source=names,
    session=text,
    seq=uint,
    boot_id=text,
    t_publish_ns=uint,
    t_publish_unix_ns=uint,
    uptime_s=st.floats(0, 1e9),
    state=st.sampled_from(["ok", "degraded", "starting"]),
    camera=st.sampled_from(m.REASONS),
    version=text,
    declared_hz=st.none() | st.floats(0, 240),
    rate_in_hz=st.none() | st.floats(0, 240),
    rate_out_hz=st.none() | st.floats(0, 240),
    latency_ms=st.dictionaries(names, st.builds(m.StageMs, finite, finite, uint), max_size=3),
    temperature_c=st.none() | st.dictionaries(names, finite, max_size=3),
    memory_mb=st.none() | st.floats(0, 1e6),
    model=st.none() | models,
    note=st.none() | text,
)
events = st.builds(
    m.Event,
    source=names,
    session=text,
    seq=uint,
    boot_id=text,
    t_publish_ns=uint,
    event=st.sampled_from(m.EVENTS),
    face=st.none() | names,
    frame_id=st.none() | uint,
)

drivers = st.builds(
    DriverState,  # fine needs more than these say
    source=names,
    session=text,
    seq=uint,
    boot_id=text,
    t_publish_ns=uint,
    state=st.sampled_from(driver.STATES[1:]),
    reason=st.sampled_from(driver.REASONS),
    valid=st.booleans(),
    findings=st.fixed_dictionaries(
        {name: st.builds(driver.Finding, st.sampled_from(driver.LEVELS)) for name in driver.FINDINGS}
    ),
    face=st.none() | names,
)


def validator(kind: str) -> Any:
    schema = json.loads(wire.schema_path(kind).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


VALIDATORS = {kind: validator(kind) for kind in ("faces", "status", "event", "driver")}


def plain_faces(**changes: Any) -> m.Faces:
    values: dict[str, Any] = {
        "source": "cam1",
        "session": "s",
        "seq": 1,
        "frame_id": 1,
        "dropped_total": 0,
        "t_capture_ns": 1,
        "t_publish_ns": 2,
        "boot_id": "b",
        "valid": True,
        "reason": "ok",
    }
    return m.Faces(**(values | changes))


def plain_status(**changes: Any) -> m.Status:
    values: dict[str, Any] = {
        "source": "cam1",
        "session": "s",
        "seq": 1,
        "boot_id": "b",
        "t_publish_ns": 2,
        "t_publish_unix_ns": 3,
        "uptime_s": 1.0,
        "state": "ok",
        "camera": "ok",
        "version": "1",
    }
    return m.Status(**(values | changes))


def plain_face(**changes: Any) -> m.Face:
    values: dict[str, Any] = {
        "id": "f1",
        "state": "tracked",
        "age_frames": 3,
        "primary": True,
        "box": (0.0, 0.0, 9.0, 9.0),
        "score": 0.9,
        "ready": True,
        "reason": "ok",
        "window": m.Window(16, 16, 1875.0),
    }
    return m.Face(**(values | changes))


@given(faces() | statuses | events | drivers)
def test_what_is_encoded_fits_the_schema_and_comes_back_equal(message: m.Message) -> None:
    body = wire.encode(message)
    kind = "driver" if isinstance(message, DriverState) else type(message).__name__.lower()
    VALIDATORS[kind].validate(json.loads(body))
    assert b"\n" not in body
    assert wire.decode_frame(wire.topic(kind, message.source) + body) == message


@given(faces(), st.dictionaries(names.map("x_".__add__), st.none() | text | uint, min_size=1, max_size=3))
def test_keys_of_a_later_minor_version_are_ignored(message: m.Faces, later: dict[str, Any]) -> None:
    tree = json.loads(wire.encode(message))
    tree |= later
    tree["schema"] = "dfer.faces/1.9"
    tree["latency_ms"]["x_later"] = 1
    for one in tree["faces"]:
        one |= later
        one["state"] = "a_later_state"
    VALIDATORS["faces"].validate(tree)
    read = wire.decode(json.dumps(tree), m.Faces)
    assert read.seq == message.seq
    assert [one.probs for one in read.faces] == [one.probs for one in message.faces]


def test_keys_an_older_publisher_does_not_send_take_defaults() -> None:
    tree = json.loads(wire.encode(plain_faces(faces=[plain_face()])))
    for name in ("rate_hz", "degraded", "latency_ms", "model"):
        del tree[name]
    del tree["faces"][0]["neutral_shift"]
    assert wire.decode(json.dumps(tree), m.Faces) == plain_faces(faces=[plain_face()])


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("dfer.faces/2.0", "update this reader"),
        ("dfer.faces/0.3", "update the publisher"),
        ("dfer.status/1.0", "expected dfer.faces/1.x"),
        ("nonsense", "expected dfer.faces/1.x"),
    ],
)
def test_another_major_version_is_refused(schema: str, words: str) -> None:
    body = wire.encode(plain_faces()).replace(b"dfer.faces/1.1", schema.encode())
    with pytest.raises(m.MessageError, match=words):
        wire.decode(body, m.Faces)
    assert not VALIDATORS["faces"].is_valid(json.loads(body))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"schema":"dfer.faces/1.1"}', b'{"schema":1}', b"\xff"])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(m.MessageError, match="not a faces message"):
        wire.decode(body, m.Faces)


@pytest.mark.parametrize("data", [b"", b"faces/cam1", b"other/cam1 {}", b"faces {}", b"\xff\xfe/x {}"])
def test_what_has_no_topic_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(m.MessageError, match="not a dferstream message"):
        wire.decode_frame(data)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_number_that_is_not_finite_reaches_the_wire(bad: float) -> None:
    classes: dict[str, float] = dict.fromkeys(SEVEN_CLASSES, 0.1)
    changed: list[dict[str, Any]] = [
        {"box": (0.0, bad, 1.0, 1.0)},
        {"score": bad},
        {"confidence": bad},
        {"score_age_ms": bad},
        {"window": m.Window(1, 2, bad)},
        {"relevance": [0.5, bad]},
        *({"quality": m.Quality(**{name: bad})} for name in ("size_px", "blur", "yaw_deg", "pitch_deg")),
        *({name: classes | {"fear": bad}} for name in ("logits", "probs", "smoothed", "now", "neutral_shift")),
    ]
    for changes in changed:
        with pytest.raises(m.MessageError, match=r"faces\[f1\].*not finite"):
            wire.encode(plain_faces(faces=[plain_face(**changes)]))
    for stage in ("capture", "detect", "infer", "total"):
        with pytest.raises(m.MessageError, match="latency_ms"):
            wire.encode(plain_faces(latency_ms=m.LatencyMs(**{stage: bad})))
    with pytest.raises(m.MessageError, match="rate_hz"):
        wire.encode(plain_faces(rate_hz=bad))
    assert m.scores(SEVEN_CLASSES, [0.1] * 6 + [bad]) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uptime_s": math.nan}, "rates"),
        ({"rate_hz": math.inf}, "rates"),
        ({"declared_hz": math.inf}, "rates"),
        ({"rate_in_hz": math.nan}, "rates"),
        ({"rate_out_hz": -math.inf}, "rates"),
        ({"memory_mb": math.nan}, "memory_mb"),
        ({"latency_ms": {"detect": m.StageMs(1.0, 2.0, 3), "infer": m.StageMs(math.nan, 2.0, 3)}}, "latency_ms.infer"),
        ({"latency_ms": {"infer": m.StageMs(1.0, math.inf, 3)}}, "latency_ms.infer"),
        ({"temperature_c": {"cpu": 40.0, "gpu": math.nan}}, "temperature_c"),
        ({"state": "asleep"}, "state 'asleep'"),
        ({"camera": "sundial"}, "camera 'sundial'"),
    ],
)
def test_a_status_that_says_what_no_reader_knows_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(m.MessageError, match=words):
        wire.encode(plain_status(**changes))


def test_a_status_counts_from_nothing() -> None:
    tree = json.loads(wire.encode(plain_status()))
    counts = ("frames", "published", "dropped", "refused", "reconnects", "backend_faults")
    assert [tree[f"{name}_total"] for name in counts] == [0] * 6


def test_a_window_has_no_gaps_unless_told() -> None:
    tree = json.loads(wire.encode(plain_faces(faces=[plain_face()])))
    assert tree["faces"][0]["window"] == {"n": 16, "need": 16, "span_ms": 1875.0, "gaps": 0}


def test_an_event_nobody_knows_is_refused() -> None:
    with pytest.raises(m.MessageError, match="event must be one of .*not 'party'"):
        wire.encode(m.Event(source="cam1", session="s", seq=1, boot_id="b", t_publish_ns=1, event="party"))


def test_scores_are_by_name_and_rounded() -> None:
    assert m.scores(("a", "b"), [0.12345678, 0.5]) == {"a": 0.123457, "b": 0.5}
    with pytest.raises(ValueError, match="zip"):
        m.scores(("a", "b"), [0.1])


_REASON = re.escape(f"reason must be 'ok' where valid, else one of {m.REASONS[1:]}; not ")
_FACE_REASON = re.escape(f"faces[f1].reason must be 'ok' where ready, else one of {m.FACE_REASONS[1:]}; not ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reason": "stalled"}, _REASON + "'stalled'"),
        ({"valid": False}, _REASON + "'ok'"),
        ({"valid": False, "reason": "asleep"}, _REASON + "'asleep'"),
        ({"t_capture_src": "sundial"}, "t_capture_src must be one of .*'sundial'"),
        ({"degraded": ["mood"]}, "degraded may list .*'mood'"),
        ({"faces": [plain_face(ready=False)]}, _FACE_REASON + "'ok'"),
        ({"faces": [plain_face(ready=False, reason="warming", label="fear")]}, r"faces\[f1\] has a label before"),
        ({"faces": [plain_face(state="gone")]}, r"faces\[f1\].state must be one of .*'gone'"),
        ({"faces": [plain_face(reason="warming")]}, _FACE_REASON + "'warming'"),
    ],
)
def test_contradictions_are_refused_before_they_are_sent(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(m.MessageError, match=words):
        wire.encode(plain_faces(**changes))


def test_the_schema_refuses_a_label_before_ready_and_a_valid_message_without_capture_time() -> None:
    tree = json.loads(wire.encode(plain_faces(faces=[plain_face(label="fear", confidence=0.9)])))
    early = json.loads(json.dumps(tree))
    early["faces"][0] |= {"ready": False, "reason": "warming"}
    assert not VALIDATORS["faces"].is_valid(early)
    assert not VALIDATORS["faces"].is_valid(tree | {"t_capture_ns": None})
    assert not VALIDATORS["faces"].is_valid(tree | {"reason": "frozen"})


def test_schema_files_name_every_field() -> None:
    def fields(cls: type) -> set[str]:
        return {field.encode_name for field in msgspec.structs.fields(cls)}

    for kind, cls in (("faces", m.Faces), ("status", m.Status), ("event", m.Event), ("driver", DriverState)):
        schema = VALIDATORS[kind].schema
        assert set(schema["properties"]) == fields(cls), kind
    defs = VALIDATORS["faces"].schema["$defs"]
    assert set(defs["face"]["properties"]) == fields(m.Face)
    assert set(defs["model"]["properties"]) == fields(m.Model)
    assert set(defs["face"]["properties"]["window"]["properties"]) == fields(m.Window)
    assert set(defs["face"]["properties"]["quality"]["properties"]) == fields(m.Quality)


def test_a_topic_ends_with_a_space_so_that_cam1_is_not_cam10() -> None:
    assert wire.topic("faces", "cam1") == b"faces/cam1 "
    assert not wire.topic("faces", "cam10").startswith(wire.topic("faces", "cam1"))
    for name in ("cam 1", "a/b", "", "ü", "x" * 65, ".x"):
        with pytest.raises(m.MessageError, match="source name"):
            rules.check_source(name)


def test_a_subscriber_can_use_the_structs_without_zeromq() -> None:
    code = "import sys; sys.modules['zmq'] = None; import stream.publish.wire, stream.subscribe.freshness"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    "change",
    [
        (b"dfer.event", b"d\xfafer.event"),
        (b'{"source"', b'{"x":' + b"[" * 100_000 + b',"source"'),
        (b"dfer.event/1", b"dfer.event/" + b"9" * 5000),
    ],
    ids=["no UTF-8", "nested too deep", "a version of 5,000 digits"],
)
def test_what_a_publisher_may_send_ends_no_reader(change: tuple[bytes, bytes]) -> None:
    """Found by ``python -m tests.fuzz wire``: each came out of the client and the recorder as another exception."""
    sent = event(1).replace(*change)
    assert sent != event(1)
    with pytest.raises(m.MessageError):
        wire.decode_frame(sent)
    Recorder(SimpleNamespace(write=lambda *_: None), (), print).take(sent, 0)  # type: ignore[arg-type]
