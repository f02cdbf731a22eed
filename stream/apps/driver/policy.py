"""The driver policy: messages in, the driver's state out. No socket, no clock of its own.

A step asks first whether the input can be believed (``evidence.py``), then each monitor how far something has gone
(``monitors/``), and then for one state: the highest level, else why it cannot be `fine`, else `fine`.
"""

from __future__ import annotations

from msgspec.structs import replace

from stream.apps.driver.evidence import InputCheck, Observation, Seat, Verdict
from stream.apps.driver.monitors.affect import AffectMonitor
from stream.apps.driver.monitors.attention import AttentionMonitor, looks_down
from stream.apps.driver.monitors.baseline import BaselineLearner
from stream.apps.driver.monitors.drowsiness import DrowsinessMonitor
from stream.apps.driver.monitors.presence import PresenceMonitor
from stream.apps.driver.settings import DriverSettings
from stream.publish.driver import FINDINGS, LEVELS, Baseline, DriverState, Finding
from stream.publish.message import Faces


class DriverPolicy:
    """Judges one driver from one source's messages.

    Args:
        source: The source's name.
        session: UUID of this start.
        boot_id: Of the machine that it runs on.
        settings: Thresholds.
    """

    def __init__(self, source: str, session: str, boot_id: str, settings: DriverSettings | None = None) -> None:
        self._settings = settings or DriverSettings()
        self._check = InputCheck(self._settings.input)
        self._seat = Seat(self._settings.seat)
        self._learner = BaselineLearner(self._settings.baseline)
        self._bad_ns: int | None = None
        self._good_ns: int | None = None
        self._sent: DriverState | None = None
        self._state = DriverState(
            source=source,
            session=session,
            seq=0,
            boot_id=boot_id,
            t_publish_ns=0,
            state="unknown",
            reason="no_message",
            valid=False,
            findings=dict.fromkeys(FINDINGS, Finding()),
            rate_hz=self._settings.input.publish_hz,
        )
        self._forget()

    @property
    def state(self) -> DriverState:
        """The driver's state as of the last step, published or not."""
        return self._state

    def step(self, message: Faces | None, now_ns: int, unreadable: bool = False) -> list[DriverState]:
        """Take what came, or that nothing came; to be called at least ten times a second.

        Args:
            message: A ``faces`` message of the source, None where none came.
            now_ns: CLOCK_MONOTONIC, of the boot that the messages' times are of.
            unreadable: Something came that is no message of this schema.

        Returns:
            What is to be published: the state where it changed or is due, else nothing.
        """
        verdict = self._check.step(message, now_ns, unreadable)
        if verdict.restart:
            self._forget()
        if not verdict.ok:
            self._bad_ns = now_ns
            blind = {name: replace(finding, known=False) for name, finding in self._state.findings.items()}
            self._state = replace(self._state, findings=blind)
            if self._good_ns is not None and now_ns - self._good_ns > self._settings.input.hold_s * 1e9:
                self._forget()
        if verdict.frame is not None:
            self._good_ns = now_ns
            self._judge(verdict.frame)
        self._conclude(verdict, now_ns)
        return self._publish(now_ns)

    def _forget(self) -> None:
        """Begin anew with all but the driver's baseline."""
        limits = self._settings
        self._attention = AttentionMonitor(limits.attention, limits.input.unseen_s)
        self._drowsiness = DrowsinessMonitor(limits.drowsiness, limits.input.unseen_s)
        self._presence = PresenceMonitor(limits.seat)
        self._affect = AffectMonitor(limits.affect)
        self._seat.reset()
        self._seen: Observation | None = None
        self._head_ns: int | None = None
        self._eyes_ns: int | None = None
        self._good_ns = None
        self._state = replace(self._state, findings=dict.fromkeys(FINDINGS, Finding()), face=None)

    def _judge(self, message: Faces) -> None:
        seen = self._seat.observe(message)
        baseline = self._learner.step(seen)
        down = looks_down(seen, baseline, self._settings.attention)
        if seen.yaw is not None and seen.pitch is not None:
            self._head_ns = seen.t_ns
        if seen.eyes is not None:
            self._eyes_ns = seen.t_ns
        self._seen = seen
        findings = {
            **self._attention.step(seen, baseline),
            **self._drowsiness.step(seen, baseline, down),
            **self._presence.step(seen, self._head_seen(), self._eyes_seen()),
            **self._affect.step(seen, baseline),
        }
        self._state = replace(
            self._state,
            findings=findings,
            baseline=baseline,
            face=None if seen.face is None else seen.face.id,
            t_capture_ns=seen.t_ns,
            faces_session=message.session,
            faces_seq=message.seq,
        )

    def _conclude(self, verdict: Verdict, now_ns: int) -> None:
        """One state of it all."""
        level = max(LEVELS.index(finding.level) for finding in self._state.findings.values())
        reason = self._reason(verdict, now_ns, self._state.baseline)
        calm = {"ok": "fine", "learning": "learning"}.get(reason, "unknown")
        self._state = replace(
            self._state,
            t_publish_ns=now_ns,
            state=LEVELS[level] if level else calm,
            reason=reason,
            valid=verdict.ok,
        )

    def _reason(self, verdict: Verdict, now_ns: int, baseline: Baseline) -> str:
        """What keeps the state from being fine, the gravest first."""
        if not verdict.ok:
            return verdict.reason
        if self._seen is None or self._seen.face is None:
            return "no_driver"
        if not self._head_seen():
            return "head_unseen"
        if not self._eyes_seen():
            return "eyes_unseen"
        if self._bad_ns is not None and now_ns - self._bad_ns <= self._settings.input.settle_s * 1e9:
            return "settling"
        return "ok" if baseline.learned else "learning"

    def _head_seen(self) -> bool:
        return self._since(self._head_ns, self._settings.input.unseen_s)

    def _eyes_seen(self) -> bool:
        return self._since(self._eyes_ns, self._settings.input.eyes_unseen_s)

    def _since(self, t_ns: int | None, limit_s: float) -> bool:
        return t_ns is not None and self._seen is not None and self._seen.t_ns - t_ns <= limit_s * 1e9

    def _publish(self, now_ns: int) -> list[DriverState]:
        state, sent = self._state, self._sent
        if sent is not None:
            levels = [finding.level for finding in state.findings.values()]
            same = (state.state, state.reason, state.face, levels) == (
                sent.state, sent.reason, sent.face, [finding.level for finding in sent.findings.values()],
            )  # fmt: skip
            if same and 0 <= now_ns - sent.t_publish_ns < 1e9 / self._settings.input.publish_hz:
                return []
        self._sent = self._state = replace(state, seq=state.seq + 1)
        return [self._sent]
