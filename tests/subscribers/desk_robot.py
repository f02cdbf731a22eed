"""A desk robot: follows you with its head, answers your face. pip install pyzmq; python desk_robot.py [ENDPOINT].

Each line is what a robot would do: {"pan": degrees, "tilt": degrees} for its neck, {"act": name} for the rest. Put your
servos where `print` is.
"""

import json
import sys
import time
from typing import Any

import zmq

VIEW_DEG = (60.0, 45.0)  # what the camera sees, across and down
STEP_DEG = 2.0  # most that the neck turns at once
DEAD_DEG = 1.0  # nearer than this it rests: a head that trembles looks nervous
ACTS = {
    "smile_started": "smile_back",
    "surprise_started": "raise_brows",
    "sadness_started": "tilt_head",
    "attention_lost": "look_around",
    "attention_gained": "look_up",
    "face_new": "greet",
}
TOO_LATE_MS = 1500.0  # an answer later than this answers nothing


def do(**what: object) -> None:
    print(json.dumps(what), flush=True)


class Neck:
    """Where the head points; the camera is on the desk and does not turn with it."""

    def __init__(self) -> None:
        self.pan = self.tilt = 0.0

    def follow(self, message: dict[str, Any]) -> None:
        """Turn a little towards the primary face."""
        face = next((face for face in message["faces"] if face["primary"] and face["state"] == "tracked"), None)
        if face is None:
            return
        x, y, width, height = face["box"]
        pan = ((x + width / 2) / message["width"] - 0.5) * VIEW_DEG[0]
        tilt = (0.5 - (y + height / 2) / message["height"]) * VIEW_DEG[1]
        if max(abs(pan - self.pan), abs(tilt - self.tilt)) > DEAD_DEG:
            self.pan += max(-STEP_DEG, min(STEP_DEG, pan - self.pan))
            self.tilt += max(-STEP_DEG, min(STEP_DEG, tilt - self.tilt))
            do(pan=round(self.pan, 1), tilt=round(self.tilt, 1), frame=message["frame_id"])


def main(endpoint: str) -> None:
    socket = zmq.Context().socket(zmq.SUB)
    socket.subscribe("faces/")
    socket.subscribe("event/")
    socket.connect(endpoint)
    neck, awake, rate_hz = Neck(), False, 2.0
    while True:
        heard = socket.poll(int(10_000 / rate_hz))  # ten periods of silence: the daemon is gone
        topic, _, body = socket.recv().partition(b" ") if heard else (b"", b"", b"{}")
        message = json.loads(body)
        if topic.startswith(b"event/"):
            act = ACTS.get(message["event"])
            if act and (message.get("delay_ms") or 0.0) < TOO_LATE_MS:
                do(act=act, face=message.get("face"))
            continue
        rate_hz = message.get("rate_hz") or rate_hz
        if message.get("valid", False) != awake:
            awake = not awake
            do(act="wake" if awake else "sleep", at=time.monotonic())
        if awake:
            neck.follow(message)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570")
