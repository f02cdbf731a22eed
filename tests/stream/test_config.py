from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine import settings
from engine.settings import SettingsError
from stream.config import Settings, add_flags, load_settings, public_value

KEYS = {entry.key: entry for entry in settings.entries(Settings)}


def parse(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser)
    return parser.parse_args(argv)


def from_file(tmp_path: Path, text: str) -> settings.Loaded[Settings]:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load_settings(parse("--config", str(file)), {})


def test_defaults_need_nothing() -> None:
    loaded = load_settings(parse(), {})
    assert loaded.settings == Settings()
    assert loaded.origins == {}


def test_flag_wins_over_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[source]\nname = "file"\nuri = "v4l2:///dev/video0"\n[scores.calm]\nmargin = 0.1\n')
    env = {"DFER_CONFIG": str(file), "DFER_SOURCE_NAME": "env", "DFER_SCORES_CALM_MARGIN": "0.2", "PATH": "/bin"}
    loaded = load_settings(parse("--source-name", "flag"), env)
    assert loaded.settings.source.name == "flag"
    assert loaded.settings.scores.calm.margin == 0.2
    assert loaded.settings.source.uri == "v4l2:///dev/video0"
    assert loaded.origins["source.name"] == "flag --source.name"
    assert loaded.origins["scores.calm.margin"] == "variable DFER_SCORES_CALM_MARGIN"
    assert loaded.origins["source.uri"] == str(file)
    assert "model.bundle" not in loaded.origins


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "source.name": st.text("abc019", min_size=1, max_size=9),
    "source.roi": st.just((0.25, 0.0, 0.5, 1.0)),
    "model.threads": st.none() | st.integers(1, 8),
    "model.backend": st.sampled_from(["auto", "openvino"]),
    "model.bundle": st.none() | st.just(Path("/some/bundle")),
    "scores.calm.smooth": st.booleans(),
    "scores.calm.margin": st.floats(0, 0.9),
    "scores.calm.abstain_below": st.none() | st.floats(0, 0.9),
    "publish.status_hz": st.floats(0.5, 5),
}


@given(st.fixed_dictionaries({}, optional=VALUES))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_value_is_the_same_from_file_environment_and_flag(tmp_path: Path, chosen: dict[str, Any]) -> None:
    lines = [f"{key} = {settings.as_toml(value)}" for key, value in chosen.items() if value is not None]
    in_file = from_file(tmp_path, "\n".join(lines)).settings
    env = {KEYS[key].env("DFER_"): settings.as_text(value) for key, value in chosen.items()}
    argv = [f"{KEYS[key].flag}={settings.as_text(value)}" for key, value in chosen.items()]
    assert in_file == load_settings(parse(), env).settings == load_settings(parse(*argv), {}).settings
    assert {key: settings.values_of(in_file)[key] for key in chosen} == chosen


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[source]\nnmae = "x"', r"unknown setting source.nmae; did you mean source.name\?"),
        ('[publish]\nuri = "x"', r"did you mean source.uri\?"),
        ("[scores]\nmargin = 0.1", r"did you mean scores.calm.margin\?"),
        ('[sorce]\nname = "x"', r"did you mean source.name\?"),
        ("source = 3", "source is a section"),
        ("[source]\nname = 3", "source.name must be text, not 3"),
        ("[camera]\nevery_frame = 1", "camera.every_frame must be true or false, not 1"),
        ("[source]\nroi = [0, 0, 1]", "source.roi must be 4 × number"),
        ("[source]\nroi = [0, 0, 2, 1]", r"\[source\] roi must be x, y, width, height within the frame"),
        ('[source]\nname = "a b"', r"\[source\] name: source name 'a b' must be"),
        ('[model]\nbackend = "cuda"', "model.backend must be 'auto' |"),
        ("[model]\nthreads = true", "model.threads must be whole number or unset, not True"),
        ("[scores.calm]\nmargin = 1.5", r"\[scores.calm\] margin must be at least 0 and under 1"),
        ("[scores.neutral]\nbound = 9", r"\[scores.neutral\] neutral bound must be"),
        ('[publish]\nsecret_key = "x"', "secret_key and allowed_keys go together"),
        ('[source]\nuri = "rtps://camera"', r"uri: unknown camera scheme rtps://; did you mean rtsp"),
        ("[camera]\nwidth = 1", r"\[camera\] camera.width = 1; give 16"),
        ("[faces]\nmin_presence = nan", r"\[faces\] faces.min_presence"),
        ("[source\n", "is not TOML"),
        ("[camera]\nopen_timeout_ms = 99999999999999999999999", "camera.open_timeout_ms must be whole number, not 999"),
        ("[camera]\nopen_timeout_ms = 9223372036854775807", "camera.open_timeout_ms = 9223372036854775807; give 1 to"),
        ('[model]\nbundle = "\\u0000"', r"model.bundle must be path or unset, not '\\x00'"),
        ('[model]\nengine = "a\\u0000b"', "model.engine must be path or unset"),
        ('[publish]\nbind = "ipc:///tmp/\\u0000x"', "publish.bind must be text or unset"),
        ('[source]\nuri = "/a\\u0000b"', "source.uri must be text"),
    ],
)
def test_a_file_with_a_mistake_is_refused_with_the_remedy(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words.replace("|", r"\|")) as caught:
        from_file(tmp_path, text)
    assert "config.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read .*nowhere.toml: No such file"):
        load_settings(parse("--config", str(tmp_path / "nowhere.toml")), {})


def test_a_mistyped_variable_is_refused_and_other_programs_are_left_alone() -> None:
    with pytest.raises(SettingsError, match="DFER_PUBLSH_BIND is unknown; did you mean DFER_PUBLISH_BIND"):
        load_settings(parse(), {"DFER_PUBLSH_BIND": "x"})
    with pytest.raises(SettingsError, match="variable DFER_MODEL_THREADS: model.threads must be whole number"):
        load_settings(parse(), {"DFER_MODEL_THREADS": "many"})
    theirs = {"DFER_TRAIN_MODEL_ENCODER": "tiny", "DFER_ENGINE_BACKEND": "x", "DFER_CALIBRATE_SEED": "1"}
    load_settings(parse(), {"DFER_SHARED_DATA": "/data", "DFERENT": "x", "DFER_ZZZ": "x", **theirs})


def test_a_bool_flag_may_stand_alone() -> None:
    assert load_settings(parse("--every-frame"), {}).settings.camera.every_frame is True
    assert load_settings(parse("--scores.calm.smooth", "off"), {}).settings.scores.calm.smooth is False


def test_every_setting_is_documented_has_its_own_variable_and_is_in_help() -> None:
    entries = settings.entries(Settings)
    assert len({entry.env("DFER_") for entry in entries}) == len(entries)
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = " ".join(parser.format_help().split())
    for entry in entries:
        assert entry.flag in text
        assert " ".join(entry.doc.split())[:20] in text.replace("- ", "-")


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().source.name = "x"  # type: ignore[misc]


def test_settings_for_tests_are_no_settings_of_a_machine(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown setting camera.driver"):
        from_file(tmp_path, '[camera]\ndriver = "x:y"')


def test_a_model_is_a_bundle_or_an_engine_directory_whichever_lies_there(tmp_path: Path) -> None:
    for name, file in (("bundle", "bundle.json"), ("engine", "engine.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
        chosen = load_settings(parse("--model", str(tmp_path / name)), {}).settings.model
        assert (chosen.bundle, chosen.engine) == (
            (tmp_path / name, None) if name == "bundle" else (None, tmp_path / name)
        )
    with pytest.raises(SettingsError, match=r"another model\.bundle are given; give one of them"):
        load_settings(parse("--model", str(tmp_path / "bundle"), "--bundle", "b"), {})


def sources(loaded: Settings) -> list[tuple[str, str]]:
    return [(one.source.name, one.source.uri) for one in loaded.each_source()]


def test_one_source_is_what_it_always_was() -> None:
    settings = load_settings(parse("--source", "demo://", "--source-name", "door"), {}).settings
    assert settings.each_source() == (settings,)
    assert sources(settings) == [("door", "demo://")]


def test_sources_are_given_by_repeating_the_flag() -> None:
    flags = ["--source", "v4l2:///dev/video0", "--source", "rtsp://h/x"]
    settings = load_settings(parse(*flags), {}, several=True).settings
    assert sources(settings) == [("cam0", "v4l2:///dev/video0"), ("cam1", "rtsp://h/x")]
    named = load_settings(parse(*flags, "--source-name", "b", "--source-name", "a"), {}, several=True).settings
    assert sources(named) == [("b", "v4l2:///dev/video0"), ("a", "rtsp://h/x")]
    assert named.source.name == "b"


def test_sources_of_a_file_have_settings_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "car.toml"
    file.write_text(
        'sources.left = "v4l2:///dev/video0"\n[sources.right]\nuri = "rtsp://me:pw@h/x"\n'
        "roi = [0, 0, 0.5, 1]\nfps = 15\n"
        "[camera]\nfps = 60\n[faces]\nmax_faces = 3\n"
    )
    loaded = load_settings(parse("--config", str(file), "--source-name", "car"), {}, several=True)
    left, right = loaded.settings.each_source()
    assert (left.source.name, left.camera.fps, left.source.roi) == ("left", 60, (0, 0, 1, 1))
    assert (right.source.name, right.camera.fps, right.source.roi) == ("right", 15, (0, 0, 0.5, 1))
    assert left.faces == right.faces == loaded.settings.faces
    assert loaded.settings.source.name == "car"
    assert "pw" not in settings.show(loaded, public_value)
    # A camera that is named by hand is the only one, whatever the file says.
    one = load_settings(parse("--config", str(file), "--source", "demo://"), {}).settings
    assert sources(one) == [("cam0", "demo://")]
    with pytest.raises(SettingsError, match="reads one source; give it: --source v4l2:///dev/video0"):
        load_settings(parse("--config", str(file)), {})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--source", "demo://", "--source", "demo://", "--source-name", "a"], "2 sources and 1 names"),
        (["--source", "a.mp4", "--source", "b.mp4", "--source-name", "a", "--source-name", "a"], "two names"),
        (["--sources", "{a = 3}"], "sources.a must be a URI, or a table with a uri"),
        (["--sources", '{a = "rtps://x"}'], "sources.a: uri: unknown camera scheme"),
        (["--sources", '{"a b" = "demo://"}'], "sources.a b: name: source name"),
        (["--sources", '{a = {uri = "demo://", fsp = 3}}'], r"unknown setting fsp; did you mean fps\?"),
        (["--sources", '{a = {uri = "demo://", fps = "x"}}'], "fps must be number or unset"),
        (["--sources", '{a = {uri = "demo://", roi = [1]}}'], "roi must be 4 × number"),
        (["--sources", '{a = {uri = "demo://", driver = "x:y"}}'], "unknown setting driver"),
        (["--sources", "{" + ", ".join(f'c{i} = "demo://"' for i in range(33)) + "}"], "at most 32"),
    ],
)
def test_sources_that_cannot_be_are_refused(flags: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_settings(parse(*flags), {}, several=True)
