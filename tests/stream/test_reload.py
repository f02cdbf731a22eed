"""Settings read anew: what changes, what is named, and that nobody's state goes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.settings import SettingsError
from stream.assemble import LoadedModel
from stream.camera import CameraSettings
from stream.config import ModelSettings, PublishSettings, Settings, SourceSettings
from stream.faces import FaceSettings
from stream.reload import Plan, Reloader, plan
from stream.scores.settings import ScoreSettings, SmoothSettings
from tests.stream.test_daemon import SAMPLE_MS, Life, bundle, model

__all__ = ["bundle", "model"]
NOW = Settings()
HALF = (0.0, 0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("wanted", "changed", "fixed"),
    [
        (NOW, (), ()),
        (replace(NOW, source=SourceSettings(roi=HALF)), ("source.roi",), ()),
        (
            replace(NOW, scores=ScoreSettings(calm=SmoothSettings(abstain_below=0.7))),
            ("scores.calm.abstain_below",),
            (),
        ),
        (replace(NOW, faces=FaceSettings(detect_every_s=0.5)), ("faces.detect_every_s",), ()),
        (
            replace(NOW, publish=PublishSettings(status_hz=5, frames_hz=3, frames_width=320)),
            ("publish.frames_width", "publish.frames_hz", "publish.status_hz"),
            (),
        ),
        (replace(NOW, source=SourceSettings(uri="/dev/video3")), (), ("source.uri",)),
        (replace(NOW, camera=CameraSettings(fps=15)), (), ("camera.fps",)),
        (replace(NOW, model=ModelSettings(threads=2)), (), ("model.threads",)),
        (replace(NOW, publish=PublishSettings(bind="tcp://127.0.0.1:1")), (), ("publish.bind",)),
        (replace(NOW, faces=FaceSettings(max_faces=20, gate=0.7)), ("faces.gate",), ("faces.max_faces",)),
        (replace(NOW, sources={"a": "demo://"}), (), ("sources.a.uri",)),
    ],
)
def test_what_can_change_changes_and_what_cannot_is_named(
    wanted: Settings, changed: tuple[str, ...], fixed: tuple[str, ...]
) -> None:
    made = plan(NOW, wanted)
    assert (made.changed, made.fixed) == (changed, fixed)
    # What is in force then is what was wanted, less what needs a restart; asked again there is nothing to do.
    assert plan(made.settings, wanted) == Plan(made.settings, (), fixed)


def test_of_several_sources_each_has_its_own_region() -> None:
    now = Settings(sources={"a": "demo://", "b": {"uri": "demo://", "fps": 15, "roi": HALF}})
    wanted = Settings(sources={"a": {"uri": "demo://", "roi": HALF}, "b": {"uri": "/dev/video1", "fps": 15}})
    made = plan(now, wanted)
    assert set(made.changed) == {"sources.a.roi", "sources.b.roi"}
    assert made.fixed == ("sources.b.uri",)
    assert [one.source.roi for one in made.settings.each_source()] == [HALF, (0, 0, 1, 1)]
    assert [one.source.uri for one in made.settings.each_source()] == ["demo://", "demo://"]


class Taking:
    def __init__(self) -> None:
        self.taken: list[Settings] = []

    def change(self, settings: Settings) -> None:
        self.taken.append(settings)


def test_with_a_file_that_cannot_be_used_everything_stays_and_one_line_says_so() -> None:
    said: list[tuple[str, dict[str, Any]]] = []
    answers: list[Settings | SettingsError] = [
        SettingsError("cam0.toml: unknown setting source.nmae"),
        replace(NOW, source=SourceSettings(roi=HALF), model=ModelSettings(threads=2)),
    ]

    def load() -> Settings:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    target = Taking()
    reloader = Reloader(NOW, load, [target], lambda event, **values: said.append((event, values)))  # type: ignore[list-item]
    reloader.reload()
    assert (reloader.current, target.taken) == (NOW, [])
    reloader.reload()
    assert [one.source.roi for one in target.taken] == [HALF]
    assert said == [
        ("reload_refused", {"error": "cam0.toml: unknown setting source.nmae", "settings": "as before"}),
        ("reloaded", {"changed": "source.roi", "restart": "model.threads"}),
    ]


def test_a_daemon_goes_on_with_every_face_and_its_window(model: LoadedModel) -> None:
    life = Life(model)
    for _ in range(12):
        life.frame("ann")
    [before] = life.frame("ann")
    assert before.faces[0].label is not None
    settings = Settings(
        camera=CameraSettings(every_frame=True),
        faces=FaceSettings(detect_every_s=1),
        scores=ScoreSettings(calm=SmoothSettings(abstain_below=0.999)),
        source=SourceSettings(roi=(0.9, 0.9, 0.1, 0.1)),
        publish=PublishSettings(status_hz=10),
    )
    life.daemon.change(settings)
    assert life.tracker.settings == settings.faces
    for _ in range(8):
        [after] = life.frame("ann")
    face = after.faces[0]
    assert (face.id, face.state, face.age_frames) == ("ann", "tracked", before.faces[0].age_frames + 8)
    assert face.window.n >= before.faces[0].window.n
    assert (face.label, face.primary) == (None, False)
    life.status()
    life.now_ns += SAMPLE_MS * 1_000_000
    assert life.daemon.status_due(life.now_ns)
