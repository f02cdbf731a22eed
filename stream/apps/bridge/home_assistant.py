"""What a source looks like in Home Assistant: retained discovery messages, and the state that they point to.

Home Assistant's MQTT integration, "MQTT Discovery": one message an entity, on
``<prefix>/<component>/<node>/<object>/config``.
"""

from __future__ import annotations

import json

from stream.publish.message import Faces

_DIAGNOSTIC = {"entity_category": "diagnostic"}
_FIGURE = {"state_class": "measurement"}
_ENTITIES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("sensor", "expression", {"name": "Expression", "icon": "mdi:emoticon-outline"}),
    ("sensor", "confidence", {"name": "Confidence", "unit_of_measurement": "%", **_FIGURE, **_DIAGNOSTIC}),
    ("sensor", "faces", {"name": "Faces", "icon": "mdi:account-multiple", **_FIGURE}),
    ("binary_sensor", "camera", {"name": "Camera", "device_class": "connectivity", **_DIAGNOSTIC}),
)


def discovery(source: str, prefix: str, state_topic: str, online_topic: str, version: str) -> dict[str, bytes]:
    """Discovery messages by topic.

    Args:
        source: The source's name.
        prefix: Home Assistant's discovery prefix.
        state_topic: Where :func:`state` is published.
        online_topic: Where ``online`` and ``offline`` are.
        version: Of dferstream.
    """
    # A node's and an object's id may hold letters, digits, - and _ alone.
    node = "dferstream_" + "".join(c if c.isalnum() or c in "-_" else f"_{ord(c):02x}_" for c in source)
    device = {
        "identifiers": [node],
        "name": f"dferstream {source}",
        "manufacturer": "dferstream",
        "sw_version": version,
    }
    made = {}
    for component, name, told in _ENTITIES:
        config = {
            **told,
            "unique_id": f"{node}_{name}",
            "object_id": f"{node}_{name}",
            "state_topic": state_topic,
            "value_template": "{{ value_json." + name + " }}",
            "availability_topic": online_topic,
            "device": device,
        }
        made[f"{prefix}/{component}/{node}/{name}/config"] = json.dumps(config).encode()
    return made


def state(message: Faces) -> bytes:
    """What the entities show of a message: of its primary face, else of its only one."""
    faces = [face for face in message.faces if face.state != "lost"]
    face = next((face for face in faces if face.primary), faces[0] if len(faces) == 1 else None)
    if face is None:
        shown, confidence = "none", None
    else:
        shown = face.label or ("unsure" if face.ready else face.reason)
        confidence = None if face.confidence is None else round(face.confidence * 100)
    camera = "ON" if message.valid else "OFF"
    return json.dumps(
        {"expression": shown, "confidence": confidence, "faces": len(faces), "camera": camera, "reason": message.reason}
    ).encode()
