"""Publishes messages as a daemon would, for tests of subscribers: python feed.py ENDPOINT [SOURCE] [HZ]."""

from __future__ import annotations

import math
import sys
import time
import uuid

from engine.spec import SEVEN_CLASSES
from stream.publish.message import (
    Event,
    Face,
    Faces,
    LatencyMs,
    Model,
    Quality,
    StageMs,
    Status,
    Window,
    scores,
)
from stream.publish.publisher import Publisher
from stream.publish.wire import boot_id, encode

MODEL = Model("tg-dfer", "0" * 64, "fp32", "openvino", SEVEN_CLASSES, "temperature")


def face(seq: int) -> Face:
    ready = seq % 40 >= 16
    wave = [1 + math.sin(seq / 10 + i) for i in range(7)]
    probs = scores(SEVEN_CLASSES, [value / sum(wave) for value in wave])
    return Face(
        id="f1",
        state="tracked" if seq else "new",
        age_frames=seq,
        primary=True,
        box=(100.0 + seq % 7, 80.5, 120.0, 130.0),
        score=0.97,
        ready=ready,
        reason="ok" if ready else "warming",
        window=Window(min(16, seq % 40), 16, 1875.0),
        logits=scores(SEVEN_CLASSES, wave) if ready else None,
        probs=probs if ready else None,
        smoothed=probs if ready else None,
        now=probs if ready else None,
        label="happiness" if ready and seq % 3 else None,
        confidence=0.51 if ready else None,
        scored_frame_id=seq - 1 if ready else None,
        score_age_ms=33.3 if ready else None,
        relevance=[0.0625] * 16 if ready else None,
        quality=Quality(125.0, 0.1, -3.5, 4.0),
    )


def faces(source: str, session: str, seq: int, hz: float) -> Faces:
    lost = seq % 50 == 49
    now = time.monotonic_ns()
    return Faces(
        source=source,
        session=session,
        seq=seq,
        frame_id=seq,
        dropped_total=seq // 10,
        t_publish_ns=now,
        boot_id=boot_id(),
        valid=not lost,
        reason="stalled" if lost else "ok",
        rate_hz=hz,
        t_capture_ns=None if lost else now - 9_000_000,
        t_capture_unix_ns=None if lost else time.time_ns(),
        t_capture_src=None if lost else "arrival",
        width=640,
        height=480,
        latency_ms=LatencyMs(1.5, 3.0, 4.5, 9.0),
        model=MODEL,
        faces=[] if lost else [face(seq)],
    )


def status(source: str, session: str, seq: int, hz: float) -> Status:
    return Status(
        source=source,
        session=session,
        seq=seq,
        boot_id=boot_id(),
        t_publish_ns=time.monotonic_ns(),
        t_publish_unix_ns=time.time_ns(),
        uptime_s=1.5,
        state="ok",
        camera="ok",
        version="0",
        rate_hz=1.0,
        declared_hz=hz,
        rate_in_hz=hz,
        rate_out_hz=hz,
        frames_total=seq,
        memory_mb=400.0,
        latency_ms={"detect": StageMs(2.0, 4.0, 100), "total": StageMs(6.0, 9.0, 100)},
        temperature_c={"cpu": 45.5},
        model=MODEL,
    )


def main() -> None:
    endpoint, source = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "cam1"
    hz = float(sys.argv[3]) if len(sys.argv) > 3 else 100.0
    session, seq = str(uuid.uuid4()), 0
    with Publisher(source, endpoint) as publisher:
        print(publisher.endpoint, flush=True)
        next_ns = time.monotonic_ns()
        while True:
            publisher.faces(encode(faces(source, session, seq + 1, hz)))
            if seq % int(hz) == 0:
                publisher.status(encode(status(source, session, seq // int(hz) + 1, hz)))
                now = time.monotonic_ns()
                event = Event(
                    source=source,
                    session=session,
                    seq=seq // int(hz) + 1,
                    boot_id=boot_id(),
                    t_publish_ns=now,
                    event="face_new",
                    face="f1",
                )
                publisher.event(encode(event))
            seq += 1
            next_ns += int(1e9 / hz)
            time.sleep(max(0, next_ns - time.monotonic_ns()) / 1e9)


if __name__ == "__main__":
    main()
