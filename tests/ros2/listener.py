"""A node that prints every message below /humans and on /diagnostics as one JSON line; run by ROS's own Python.

listener.py SOURCE_OF_IDS. Faces' topics are subscribed to as their ids come, and left as they go.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from hri_msgs.msg import Expression, IdsList, NormalizedRegionOfInterest2D
from rclpy.qos import DurabilityPolicy, QoSProfile


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def stamp(message: Any) -> int:
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


class Listener:
    def __init__(self) -> None:
        self.node = rclpy.create_node("listener")
        latched = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(IdsList, "/humans/faces/tracked", self.tracked, latched)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.diagnostics, 10)
        self.faces: dict[str, list[Any]] = {}

    def tracked(self, message: Any) -> None:
        say(kind="tracked", stamp=stamp(message), frame_id=message.header.frame_id, ids=list(message.ids))
        for name in message.ids:
            if name not in self.faces:
                self.faces[name] = [
                    self.node.create_subscription(
                        NormalizedRegionOfInterest2D,
                        f"/humans/faces/{name}/roi",
                        lambda message, name=name: self.region(name, message),
                        QoSProfile(depth=200),
                    ),
                    self.node.create_subscription(
                        Expression,
                        f"/humans/faces/{name}/expression",
                        lambda message, name=name: self.expression(name, message),
                        QoSProfile(depth=200),
                    ),
                ]
        for name in [name for name in self.faces if name not in message.ids]:
            for subscription in self.faces.pop(name):
                self.node.destroy_subscription(subscription)

    def region(self, name: str, message: Any) -> None:
        box = [message.xmin, message.ymin, message.xmax, message.ymax]
        say(kind="roi", face=name, stamp=stamp(message), frame_id=message.header.frame_id, box=box, c=message.c)

    def expression(self, name: str, message: Any) -> None:
        say(
            kind="expression", face=name, stamp=stamp(message), expression=message.expression,
            confidence=message.confidence, valence=str(message.valence), arousal=str(message.arousal),
        )  # fmt: skip

    def diagnostics(self, message: Any) -> None:
        for status in message.status:
            values = {each.key: each.value for each in status.values}
            say(kind="diagnostics", level=ord(status.level), name=status.name, message=status.message, values=values)

    def topics(self) -> None:
        names = [name for name, _ in self.node.get_topic_names_and_types() if name.startswith("/humans/faces/")]
        # What this node itself subscribes to is in the graph too.
        say(kind="topics", topics=[name for name in names if self.node.count_publishers(name)])


def main() -> None:
    rclpy.init()
    listener = Listener()
    listener.node.create_timer(0.5, listener.topics)
    say(kind="ready")
    try:
        rclpy.spin(listener.node)
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
