"""Against real inlets of liblsl, in this process; the bridge is another."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pylsl = pytest.importorskip("pylsl", reason="no pylsl (pip install 'dferstream[lsl]')", exc_type=ImportError)

from engine.settings import SettingsError, load  # noqa: E402
from engine.spec import SEVEN_CLASSES  # noqa: E402
from stream.apps.bridge.lsl import SIGNALS, LslSettings, sample  # noqa: E402
from stream.cli import main  # noqa: E402
from stream.publish.message import Eyes, Face, Head  # noqa: E402
from tests.stream.apps.bridge.playing import Playing  # noqa: E402
from tests.subscribers.feed import face  # noqa: E402

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def lab(tmp_path: Any) -> Iterator[Playing]:
    """A source of a name that no other test on this machine has: LSL finds streams by name."""
    made = Playing(tmp_path, f"lab{time.monotonic_ns()}")
    yield made
    made.close()


def inlet(lab: Playing, what: str) -> Any:
    found = pylsl.resolve_byprop("name", f"dferstream {lab.source} {what}", 1, 60)
    assert found, f"no stream of {what}"
    made = pylsl.StreamInlet(found[0], max_buflen=60)
    made.open_stream(60)
    return made


def pull(stream: Any, count: int) -> list[tuple[list[Any], float]]:
    """Samples with their stamps, corrected to this process's clock."""
    correction = stream.time_correction(60)
    taken: list[tuple[list[Any], float]] = []
    while len(taken) < count:
        values, stamp = stream.pull_sample(60)
        assert stamp is not None, f"{len(taken)} of {count} samples came"
        taken.append((values, stamp + correction))
    return taken


def test_stamps_are_the_frames_capture_times(lab: Playing, bridge: Start) -> None:
    bridge("lsl", lab.endpoint)
    stream = inlet(lab, "face 1")
    samples = pull(stream, 150)
    # This process's LSL clock against its CLOCK_MONOTONIC, which the captures are of.
    before, lsl_s, after = time.monotonic_ns(), pylsl.local_clock(), time.monotonic_ns()
    offset_s = lsl_s - (before + after) / 2e9
    captured = {message.t_capture_ns: message for message in lab.sent if message.t_capture_ns is not None}
    worst_s = 0.0
    for values, stamp in samples:
        t_ns = (stamp - offset_s) * 1e9
        nearest = min(captured, key=lambda each: abs(each - t_ns))
        worst_s = max(worst_s, abs(nearest - t_ns) / 1e9)
        want = sample(captured[nearest].faces[0], SEVEN_CLASSES)
        assert values == pytest.approx(want, abs=1e-6, nan_ok=True)
    assert worst_s < 0.002
    stamps = [stamp for _, stamp in samples]
    assert stamps == sorted(stamps)


def test_metadata_are_xdfs(lab: Playing, bridge: Start) -> None:
    bridge("lsl", lab.endpoint)
    info = inlet(lab, "face 1").info(60)
    assert info.nominal_srate() == 0
    assert info.channel_format() == pylsl.cf_float32
    assert info.channel_count() == 7 + len(SIGNALS)
    channel, told = info.desc().child("channels").child("channel"), []
    for _ in range(info.channel_count()):
        told.append(tuple(channel.child_value(key) for key in ("label", "unit", "type")))
        channel = channel.next_sibling()
    assert [label for label, _, _ in told[:7]] == list(SEVEN_CLASSES)
    assert told[0][1:] == ("normalized", "Expression")
    assert told[-1] == ("head_roll", "degrees", "Face")
    acquisition = info.desc().child("acquisition")
    assert acquisition.child_value("model") == "tg-dfer"
    assert acquisition.child_value("source") == lab.source


def test_two_faces_keep_their_slots(lab: Playing, bridge: Start) -> None:
    def faces(seq: int) -> list[Face]:
        first, second = face(20), face(20)
        first.confidence, second.id, second.confidence, second.primary = 0.25, "f2", 0.75, False
        return [second, first] if seq % 2 else [first, second]

    lab.show(faces)
    bridge("lsl", lab.endpoint, "--slots", "2")
    for what, confidence in (("face 1", 0.25), ("face 2", 0.75)):
        assert {values[7] for values, _ in pull(inlet(lab, what), 40)} == {confidence}


def test_markers_are_events_at_their_onset_and_slots(lab: Playing, bridge: Start) -> None:
    bridge("lsl", lab.endpoint)
    markers = inlet(lab, "markers")
    inlet(lab, "face 1")
    lab.show(lambda seq: [])
    lab.say("smile_started")
    seen: set[str] = set()
    while not {"smile_started f1", "slot1_free f1"} <= seen:
        seen.add(pull(markers, 1)[0][0][0])
    lab.show(lambda seq: [face(20)])
    while "slot1_taken f1" not in seen:
        seen.add(pull(markers, 1)[0][0][0])


def test_a_face_that_is_not_ready_has_no_scores() -> None:
    seen = face(20)
    seen.eyes, seen.mouth_open, seen.head = Eyes(0.5, None), 0.25, Head(1.0, 2.0, 3.0)
    values = sample(seen, SEVEN_CLASSES)
    assert sum(values[:7]) == pytest.approx(1, abs=1e-4)
    assert values[8] == 0.5
    assert math.isnan(values[9])
    assert values[10:] == [0.25, 1.0, 2.0, 3.0]
    assert all(math.isnan(value) for value in sample(face(3), SEVEN_CLASSES)[:8])


def test_it_ends_when_told(lab: Playing, bridge: Start) -> None:
    child = bridge("lsl", lab.endpoint)
    assert child.stderr is not None
    while "streaming 1" not in child.stderr.readline():
        pass
    child.terminate()
    assert child.wait(60) == 0


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "pylsl", None)
    monkeypatch.setenv("LSLAPICFG", "")
    assert main(["bridge", "lsl"]) == 2
    assert "pip install 'dferstream[lsl]'" in capsys.readouterr().err


def test_slots_have_a_bound() -> None:
    with pytest.raises(SettingsError, match=r"slots must be 1\.\.16"):
        load(LslSettings, flags={"slots": "17"}, prefix="DFER_BRIDGE_LSL_")
