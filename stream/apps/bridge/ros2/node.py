"""The node: topics come with a face and go with it, stamps are capture times on the ROS clock."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import math
import os
import queue
import re
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any

from engine import settings
from engine.console import Exit
from engine.settings import SettingsError
from engine.text import say
from stream.apps.bridge.feed import BridgeError, Feed, Heard, Pulse, first_source
from stream.apps.bridge.ros2.mapping import FaceTopics, Humans155, diagnostics
from stream.publish.message import Faces, Status
from stream.publish.wire import boot_id

PREFIX = "DFER_BRIDGE_ROS2_"
_MOST_WAITING = 64
_SPIN_S = 0.05
_DEPTH = 30


@dataclass(frozen=True)
class Ros2Settings:
    """How it appears in the graph.

    Attributes:
        node: The node's name.
        frame_id: Of the headers; unset takes the source's name.
    """

    node: str = "dferstream"
    frame_id: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.node):
            raise SettingsError(f"node must be letters, digits and _, with no digit first, not {self.node!r}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream bridge ros2``."""
    settings.add_flags(parser, Ros2Settings)


def run(args: argparse.Namespace) -> int:
    """Carry messages until stopped; ``PARTLY`` where none was heard."""
    given = settings.flags_of(args, Ros2Settings)
    chosen = settings.load(Ros2Settings, None, os.environ, given, prefix=PREFIX).settings
    for module, remedy in (
        ("rclpy", "source /opt/ros/<distribution>/setup.bash, or pip install 'ros-rclpy[fastrtps]'"),
        (
            "diagnostic_msgs.msg",
            "apt-get install ros-<distribution>-diagnostic-msgs, or pip install ros-diagnostic-msgs",
        ),
        ("hri_msgs.msg", "install ros-<distribution>-hri-msgs, or build it in your workspace and source that"),
    ):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise BridgeError(f"this needs {module} ({error})", remedy) from error
    source = first_source(args, "ros2")
    if source is None:
        return Exit.PARTLY
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    waiting: queue.Queue[Heard] = queue.Queue(_MOST_WAITING)

    def offer(heard: Heard) -> None:
        with contextlib.suppress(queue.Full):  # newest wins in ROS too: whoever is late has a queue of its own
            waiting.put_nowait(heard)

    with Feed(args, source, ("faces", "status"), offer):
        node = HumansNode(source, chosen)
        try:
            started_ns = time.monotonic_ns()
            while not stopping.is_set():
                if args.seconds is not None and time.monotonic_ns() - started_ns > args.seconds * 1e9:
                    break
                try:
                    node.take(waiting.get(timeout=_SPIN_S))
                except queue.Empty:
                    node.idle()
        finally:
            node.close()
    return Exit.DONE


class HumansNode:
    """A ROS 2 node that publishes one source's faces.

    rclpy takes whatever is assigned to a field without a look, so every value is made a float or text before.

    Args:
        source: The source's name.
        chosen: How it appears.
    """

    def __init__(self, source: str, chosen: Ros2Settings) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from hri_msgs.msg import IdsList
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from rclpy.signals import SignalHandlerOptions

        self._source, self._frame_id, self._boot = source, chosen.frame_id or source, boot_id()
        self._humans, self._pulse, self._tracked = Humans155(), Pulse(), [""]
        rclpy.init(args=None, signal_handler_options=SignalHandlerOptions.NO)
        self._node: Any = rclpy.create_node(chosen.node)
        # Whoever comes late gets the newest list; who asks for no history is matched all the same.
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._ids: Any = self._node.create_publisher(IdsList, "/humans/faces/tracked", latched)
        self._health: Any = self._node.create_publisher(DiagnosticArray, "/diagnostics", _DEPTH)
        self._faces: dict[str, tuple[Any, Any]] = {}
        self._silent = False
        say(f"carrying {source} to ROS 2 as node /{chosen.node}")

    def take(self, heard: Heard) -> None:
        """Publish what a message holds."""
        import rclpy

        message = heard.message
        self._pulse.observe(message)
        if isinstance(message, Faces):
            self._silent = False
            self._publish(message)
        elif isinstance(message, Status):
            self._diagnose(*diagnostics(message))
        rclpy.spin_once(self._node, timeout_sec=0.0)

    def idle(self) -> None:
        """Nothing came for a moment: take down what is stale."""
        import rclpy

        if not self._pulse.alive:
            if not self._silent:
                self._silent = True
                self._diagnose("STALE", "nothing heard of the daemon", [])
            self._publish(None)
        rclpy.spin_once(self._node, timeout_sec=0.0)

    def close(self) -> None:
        """Leave the graph, with no face left in it."""
        import rclpy
        from rclpy.duration import Duration

        self._tracked = [""]
        self._say_tracked([], self._stamp(None))
        for name in list(self._faces):
            self._take_down(name)
        # What is on its way goes with the process: over shared memory the segment, with the message in it.
        self._ids.wait_for_all_acked(Duration(seconds=1.0))
        self._node.destroy_node()
        rclpy.shutdown()

    def _publish(self, message: Faces | None) -> None:
        humans = self._humans.step(message, time.monotonic_ns())
        stamp = self._stamp(message)
        for face in humans.faces:
            self._publish_face(face, stamp)
        self._say_tracked([face.id for face in humans.faces], stamp, even_if_same=bool(message and message.valid))
        for name in humans.gone:
            self._take_down(name)

    def _publish_face(self, face: FaceTopics, stamp: Any) -> None:
        from hri_msgs.msg import Expression, NormalizedRegionOfInterest2D

        if face.id not in self._faces:
            under = f"/humans/faces/{face.id}"
            self._faces[face.id] = (
                self._node.create_publisher(NormalizedRegionOfInterest2D, f"{under}/roi", _DEPTH),
                self._node.create_publisher(Expression, f"{under}/expression", _DEPTH),
            )
        regions, expressions = self._faces[face.id]
        if face.region is not None:
            region = NormalizedRegionOfInterest2D()
            self._head(region, stamp)
            for name in ("xmin", "ymin", "xmax", "ymax", "c"):
                setattr(region, name, float(getattr(face.region, name)))
            regions.publish(region)
        if face.expression is not None:
            expression = Expression()
            self._head(expression, stamp)
            constant = face.expression.constant
            expression.expression = str(getattr(Expression, constant)) if constant else ""
            expression.confidence = float(face.expression.confidence)
            # Not measured, and 0 would say calm and neutral.
            expression.valence = expression.arousal = math.nan
            expressions.publish(expression)

    def _say_tracked(self, ids: list[str], stamp: Any, even_if_same: bool = False) -> None:
        from hri_msgs.msg import IdsList

        if ids == self._tracked and not even_if_same:
            return
        self._tracked = list(ids)
        told = IdsList()
        self._head(told, stamp)
        told.ids = [str(name) for name in ids]
        self._ids.publish(told)

    def _diagnose(self, level: str, said: str, values: list[tuple[str, str]]) -> None:
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

        status = DiagnosticStatus()
        status.level = getattr(DiagnosticStatus, level)
        status.name, status.message, status.hardware_id = f"dferstream: {self._source}", said, self._source
        status.values = [KeyValue(key=key, value=value) for key, value in values]
        told = DiagnosticArray()
        told.header.stamp = self._node.get_clock().now().to_msg()
        told.status = [status]
        self._health.publish(told)

    def _head(self, told: Any, stamp: Any) -> None:
        told.header.stamp, told.header.frame_id = stamp, self._frame_id

    def _stamp(self, message: Faces | None) -> Any:
        """Capture time on the ROS clock: wall time as it was taken, or simulated time less the frame's age."""
        from rclpy.duration import Duration
        from rclpy.time import Time

        clock = self._node.get_clock()
        simulated = bool(clock.ros_time_is_active)
        if message is None or (message.t_capture_unix_ns is None and message.t_capture_ns is None):
            return clock.now().to_msg()
        if message.t_capture_unix_ns is not None and not simulated:
            return Time(nanoseconds=int(message.t_capture_unix_ns)).to_msg()
        age_ns = 0
        if message.t_capture_ns is not None and message.boot_id == self._boot:
            age_ns = max(time.monotonic_ns() - message.t_capture_ns, 0)
        now = clock.now()
        return (now - Duration(nanoseconds=min(age_ns, now.nanoseconds))).to_msg()

    def _take_down(self, name: str) -> None:
        for publisher in self._faces.pop(name, ()):
            self._node.destroy_publisher(publisher)
