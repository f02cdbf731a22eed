"""A video that was decoded once is not decoded again until it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.data.own.clips import draw, write
from train.data import sources
from train.data.frames import decode_whole
from train.data.own.memory import ClipMemory, Known
from train.data.record import Clip, DataReport


def test_what_is_known_is_kept_until_the_file_changes(tmp_path: Path) -> None:
    clip = Clip("a", write(tmp_path / "a.mp4", draw("ann", "a")), "fear")
    memory = ClipMemory(tmp_path / "cache" / "clips.json")
    assert memory.get(clip) is None
    memory.put(clip, Known(12, None))
    memory.save()
    again = ClipMemory(tmp_path / "cache" / "clips.json")
    assert again.get(clip) == Known(12, None)
    write(clip.path, draw("ann", "b", 14))
    assert again.get(clip) is None


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', '{"a": [1]}'])
def test_a_damaged_memory_remembers_nothing(text: str, tmp_path: Path) -> None:
    path = tmp_path / "clips.json"
    path.write_text(text)
    clip = Clip("a", write(tmp_path / "a.mp4", draw("ann", "a")), "fear")
    memory = ClipMemory(path)
    assert memory.get(clip) is None
    memory.put(clip, Known(12, "cut short"))
    memory.save()
    assert ClipMemory(path).get(clip) == Known(12, "cut short")


def test_a_second_check_decodes_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    clips = [Clip(name, write(tmp_path / f"{name}.mp4", draw(name, "a")), "fear") for name in ("ann", "ben")]
    decoded: list[str] = []
    monkeypatch.setattr(sources, "decode_whole", lambda clip: decoded.append(clip.name) or decode_whole(clip))  # type: ignore[func-returns-value]
    for wanted in (["ann", "ben"], []):
        decoded.clear()
        counted = sources.check_frames(clips, DataReport("own"), 16, ("fear",))
        assert [item.frames for item in counted] == [12, 12]
        assert sorted(decoded) == wanted
