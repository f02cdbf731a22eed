"""Message bodies as a subscriber decodes them."""

from __future__ import annotations

from typing import Any

from stream.publish.message import Faces

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
ELEVEN = (*SEVEN, "contempt", "anxiety", "helplessness", "disappointment")


def probabilities(top: str, share: float = 0.8, labels: tuple[str, ...] = SEVEN) -> dict[str, float]:
    return {name: share if name == top else (1 - share) / (len(labels) - 1) for name in labels}


def face_body(
    face_id: str = "1", box: tuple[float, ...] = (225, 130, 185, 215), label: str | None = "happiness", **changes: Any
) -> dict[str, Any]:
    scores = probabilities(label or "neutral")
    body: dict[str, Any] = {
        "id": face_id,
        "state": "tracked",
        "age_frames": 60,
        "primary": False,
        "box": list(box),
        "score": 0.93,
        "ready": True,
        "reason": "ok",
        "window": {"n": 16, "need": 16, "span_ms": 1875.0, "gaps": 0},
        "probs": scores,
        "smoothed": scores,
        "label": label,
        "confidence": 0.8,
        "score_age_ms": 33.4,
        "relevance": [1 / 16] * 16,
    }
    return body | changes


def warming_body(n: int = 7, **changes: Any) -> dict[str, Any]:
    window = {"n": n, "need": 16, "span_ms": 125.0 * n, "gaps": 0}
    empty: dict[str, Any] = {
        "ready": False,
        "reason": "warming",
        "label": None,
        "confidence": None,
        "probs": None,
        "smoothed": None,
    }
    return face_body(**({"window": window, "relevance": None} | empty | changes))


def faces_body(faces: list[dict[str, Any]], number: int = 0, **changes: Any) -> dict[str, Any]:
    t_ns = 5_000_000_000 + number * 33_333_333
    body: dict[str, Any] = {
        "schema": "dfer.faces/1.1",
        "source": "cam0",
        "session": "d1f6a2c0-0000-4000-8000-000000000001",
        "seq": number,
        "frame_id": number,
        "dropped_total": 0,
        "t_capture_ns": t_ns,
        "t_publish_ns": t_ns + 9_000_000,
        "valid": True,
        "reason": "ok",
        "degraded": [],
        "width": 640,
        "height": 480,
        "latency_ms": {"capture": 1.0, "detect": 2.0, "infer": 4.0, "total": 9.0},
        "model": {"name": "small", "sha256": "0" * 64, "precision": "fp32", "backend": "openvino", "labels": [*SEVEN]},
        "faces": faces,
    }
    return body | changes


def no_camera() -> Faces:
    """What is published while there is no camera."""
    return Faces(
        source="c",
        session="s",
        seq=0,
        frame_id=0,
        dropped_total=0,
        t_publish_ns=1,
        boot_id="b",
        valid=False,
        reason="no_camera",
    )
