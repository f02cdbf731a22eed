"""The settings of one machine: which camera, which model, where to publish, how calm.

Everything about the model itself (labels, window, rates, crop) travels in its bundle and is not repeated here.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from engine import settings
from engine.errors import DferError
from engine.settings import Loaded, SettingsError
from stream.camera.frame import CameraError
from stream.camera.settings import CameraSettings
from stream.camera.uri import parse_uri
from stream.faces.settings import FaceSettings
from stream.publish.message import MessageError
from stream.publish.rules import check_source
from stream.scores.settings import ScoreSettings

SHORT_FLAGS: dict[str, str] = {
    "source.uri": "--source",
    "source.name": "--source-name",
    "source.roi": "--roi",
    "camera.every_frame": "--every-frame",
    "model.bundle": "--bundle",
    "model.engine": "--engine",
    "model.backend": "--backend",
    "model.threads": "--threads",
    "publish.bind": "--bind",
    "publish.with_frames": "--with-frames",
}
"""Flags that exist beside the dotted ones because they are typed by hand."""
MOST_SOURCES = 32
"""Sources of one process."""
_NAMED_BY_SOURCE = ("source.uri", "source.name")
_HIDDEN_OF_CAMERA = frozenset({"driver", "start_ns"})


@dataclass(frozen=True)
class SourceSettings:
    """What is looked at.

    Attributes:
        name: The source's name in topics: letters, digits, `_`, `.`, `-`.
        uri: Camera or file: `v4l2:///dev/video0`, `csi://0`, `rtsp://…`, `http://…`, `file://…`, `gst://…` or `demo://`.
        roi: Region in which the largest face is the primary one: x, y, width, height as shares of the frame, 0 to 1.
    """

    name: str = "cam0"
    uri: str = "demo://"
    roi: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        try:
            check_source(self.name)
        except MessageError as error:
            raise SettingsError(f"name: {error}") from error
        try:
            parse_uri(self.uri)
        except CameraError as error:
            raise SettingsError(f"uri: {error}") from error
        x, y, width, height = self.roi
        inside = all(math.isfinite(number) and 0 <= number <= 1 for number in self.roi)
        if not inside or width <= 0 or height <= 0 or x + width > 1 + 1e-6 or y + height > 1 + 1e-6:
            raise SettingsError(f"roi must be x, y, width, height within the frame, shares of 0 to 1, not {self.roi}")


@dataclass(frozen=True)
class ModelSettings:
    """Which model, and what runs it.

    Attributes:
        bundle: Bundle directory; unset takes the one that comes with the program.
        engine: Engine directory made by `dfer-engine build`; unset runs the bundle itself.
        backend: What runs it; `auto` takes the best that works and says which.
        precision: Number format to run in; unset takes bf16 where a small model is proven in it here, else the
            back end's default.
        threads: CPU threads for the model; unset takes the number of cores.
        encode_hz: Frames encoded per second: unset takes the model's own sample rate, a multiple of it scores more
            often.
    """

    bundle: Path | None = None
    engine: Path | None = None
    backend: Literal["auto", "tensorrt", "openvino", "onnxruntime", "torch"] = "auto"
    precision: Literal["fp32", "fp16", "bf16", "int8"] | None = None
    threads: int | None = None
    encode_hz: float | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= 256:
            raise SettingsError(f"threads must be 1..256, not {self.threads}")
        if self.encode_hz is not None and not (math.isfinite(self.encode_hz) and 0 < self.encode_hz <= 240):
            raise SettingsError(f"encode_hz must be above 0 and at most 240, not {self.encode_hz}")


@dataclass(frozen=True)
class PublishSettings:
    """Where scores go, and what of them.

    Attributes:
        bind: Endpoint: `ipc:///path`, `tcp://127.0.0.1:5570`; unset takes `ipc:///run/dferstream/<name>.ipc` where that
            directory is ours, else `tcp://127.0.0.1:5570`. TCP beyond this machine needs both keys below.
        secret_key: Secret CURVE key of this publisher, made by `dfer-stream keys`.
        allowed_keys: Folder of public keys (`*.key`) of the subscribers that may connect.
        with_frames: Also publish JPEG frames, each with its number, on a topic of their own. Off: no image leaves the
            process.
        frames_width: Most width of those frames, px, 32..1920.
        frames_hz: Most of those frames per second, 0.1..60.
        status_hz: Health messages per second.
        max_subscribers: Connections at once, 1..1024; three quarters of them from one user or address.
        max_topics: Topics one of them may be subscribed to at once, 1..1024; one that exceeds it is disconnected.
    """

    bind: str | None = None
    secret_key: Path | None = None
    allowed_keys: Path | None = None
    with_frames: bool = False
    frames_width: int = 640
    frames_hz: float = 15.0
    status_hz: float = 1.0
    max_subscribers: int = 64
    max_topics: int = 64

    def __post_init__(self) -> None:
        if (self.secret_key is None) != (self.allowed_keys is None):
            raise SettingsError(
                "secret_key and allowed_keys go together: without the list of subscribers, CURVE "
                "admits anyone who knows this publisher's public key"
            )
        if not 32 <= self.frames_width <= 1920:
            raise SettingsError(f"frames_width must be 32..1920, not {self.frames_width}")
        if not 0.1 <= self.frames_hz <= 60:
            raise SettingsError(f"frames_hz must be 0.1..60, not {self.frames_hz}")
        if not 0.1 <= self.status_hz <= 10:
            raise SettingsError(f"status_hz must be 0.1..10, not {self.status_hz}")
        for name in ("max_subscribers", "max_topics"):
            if not 1 <= getattr(self, name) <= 1024:
                raise SettingsError(f"{name} must be 1..1024, not {getattr(self, name)}")


@dataclass(frozen=True)
class Settings:
    """Everything, by section.

    Attributes:
        sources: Several cameras in one process, by name: `[sources]` with `left = "v4l2:///dev/video0"`, or a table
            `[sources.left]` with `uri`, `roi` and whatever of `[camera]` is its own. `source.name` then only names the
            endpoint.
    """

    HIDDEN: ClassVar[frozenset[str]] = frozenset(f"camera.{name}" for name in _HIDDEN_OF_CAMERA)

    sources: Mapping[str, Any] = field(default_factory=dict)
    source: SourceSettings = field(default_factory=SourceSettings)
    camera: CameraSettings = field(default_factory=CameraSettings)
    faces: FaceSettings = field(default_factory=FaceSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    scores: ScoreSettings = field(default_factory=ScoreSettings)
    publish: PublishSettings = field(default_factory=PublishSettings)

    def __post_init__(self) -> None:
        if len(self.sources) > MOST_SOURCES:
            raise SettingsError(f"{len(self.sources)} sources are given", f"at most {MOST_SOURCES} run in one process")
        self.each_source()

    def each_source(self) -> tuple[Settings, ...]:
        """The settings of each camera by itself, in order; this one's where it is the only one."""
        return tuple(_of_source(self, name, given) for name, given in self.sources.items()) or (self,)


def _of_source(whole: Settings, name: str, given: Any) -> Settings:
    table = {"uri": given} if isinstance(given, str) else given
    if not isinstance(table, Mapping) or not isinstance(table.get("uri"), str):
        raise SettingsError(f"sources.{name} must be a URI, or a table with a uri")
    known = {entry.name: entry for entry in settings.entries(CameraSettings, "", _HIDDEN_OF_CAMERA)}
    camera: dict[str, Any] = {}
    for key, value in table.items():
        if key in ("uri", "roi"):
            continue
        entry, _ = settings.find(key, known, f"sources.{name}")
        camera[key] = settings.checked(entry, value, f"sources.{name}")
    try:
        x, y, width, height = map(float, table.get("roi", whole.source.roi))
    except (TypeError, ValueError):
        raise SettingsError(f"sources.{name}: roi must be 4 × number, not {table['roi']!r}") from None
    try:
        source = SourceSettings(name, table["uri"], (x, y, width, height))
        return replace(whole, source=source, camera=replace(whole.camera, **camera), sources={})
    except DferError as error:
        raise SettingsError(f"sources.{name}: {error}") from error


def add_flags(parser: argparse.ArgumentParser, sections: Collection[str] | None = None) -> None:
    """Give a parser ``--config`` and a flag for every setting; read them back with :func:`load_settings`.

    Args:
        parser: Of one command.
        sections: Sections the command has a use for; all where not given.
    """
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings (variable DFER_CONFIG)")
    if sections is None or "model" in sections:
        parser.add_argument("--model", type=Path, metavar="DIR", help="a bundle or an engine directory, as it is")
    settings.add_flags(parser, Settings, SHORT_FLAGS, sections, repeated=_NAMED_BY_SOURCE)


def load_settings(
    args: argparse.Namespace, environ: Mapping[str, str] | None = None, several: bool = False
) -> Loaded[Settings]:
    """Settings from parsed flags, the environment and the file either names.

    Args:
        args: Of a parser with :func:`add_flags`.
        environ: Variables; this process's if not given.
        several: Whether the command can read several sources.

    Raises:
        SettingsError: As :func:`engine.settings.load`; if several sources are given where there can be one.
    """
    env = os.environ if environ is None else environ
    file = getattr(args, "config", None) or env.get("DFER_CONFIG")
    path = Path(file) if file else None
    flags = _with_sources({key: given for key, given in vars(args).items() if given is not None})
    flags = settings.flags_of(argparse.Namespace(**flags), Settings)
    if (model := getattr(args, "model", None)) is not None:
        key = "model.engine" if (model / "engine.json").is_file() else "model.bundle"
        if key in flags:
            raise SettingsError(f"--model {model} and another {key} are given", "give one of them")
        flags = {**flags, key: str(model)}
    loaded = settings.load(Settings, path, env, flags)
    if loaded.settings.sources and "source.uri" in loaded.origins:
        one, more = (_rank(loaded.origins[key]) for key in ("source.uri", "sources"))
        if one == more:
            raise SettingsError("source.uri and sources are both given", "put that camera among the sources")
        if one > more:
            loaded = settings.load(Settings, path, env, {**flags, "sources": ""})
    if loaded.settings.sources and not several:
        raise SettingsError("this command reads one source", f"give it: --source {_first_uri(loaded.settings)}")
    return loaded


def _with_sources(given: dict[str, Any]) -> dict[str, Any]:
    """Flags with the repeated ``--source`` and ``--source-name`` as one table where there are several."""
    uris, names = (given.pop(key, []) for key in _NAMED_BY_SOURCE)
    if len(uris) < 2:
        # The last name counts, as of every other flag.
        return given | {key: list_[-1] for key, list_ in zip(_NAMED_BY_SOURCE, (uris, names), strict=True) if list_}
    names = names or [f"cam{index}" for index in range(len(uris))]
    if len(names) != len(uris):
        raise SettingsError(
            f"{len(uris)} sources and {len(names)} names are given", "give a --source-name for each --source, or none"
        )
    if len(set(names)) < len(names):
        raise SettingsError(f"--source-name: {', '.join(names)}", "two sources need two names")
    if "sources" in given:
        raise SettingsError("--source and --sources are both given", "give one of them")
    return given | {"source.name": names[0], "sources": settings.as_toml(dict(zip(names, uris, strict=True)))}


def _rank(origin: str) -> int:
    return 2 if origin.startswith("flag ") else 1 if origin.startswith("variable ") else 0


def _first_uri(whole: Settings) -> str:
    return parse_uri(whole.each_source()[0].source.uri).display


def public_value(key: str, value: Any) -> Any:
    """A setting's value as it may be printed: a camera's URI without its credentials."""
    if key == "sources":
        return {name: _public_source(given) for name, given in value.items()}
    return parse_uri(value).display if key == "source.uri" else value


def _public_source(given: Any) -> Any:
    if isinstance(given, Mapping):
        return {key: parse_uri(value).display if key == "uri" else value for key, value in given.items()}
    return parse_uri(given).display
