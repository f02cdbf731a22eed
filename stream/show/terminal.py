"""The live table in a terminal: one row per face, fed with the messages that are published.

Where standard output is no terminal, or a dumb one, a line a second says the same.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from engine.text import printable_values
from stream.publish.message import Faces, Message
from stream.subscribe.meter import Measured, StreamMeter

_REDRAW_NS = 100_000_000
_LINE_NS = 1_000_000_000
_TOP = 3
_ALL_COLUMNS = 78  # characters; below, only face, label and window are shown
_EIGHTHS = " ▏▎▍▌▋▊▉█"

# The overlay's palette (stream/show/overlay/palette.py), as rich wants it; no picture library is imported for a table.
_COLOURS = {
    "happiness": "#f0e442",
    "surprise": "#e69f00",
    "neutral": "#bec2c8",
    "sadness": "#2e86d6",
    "fear": "#cc79a7",
    "disgust": "#009e73",
    "anger": "#d54a00",
    "contempt": "#86cdf0",
    "anxiety": "#f0bed7",
    "helplessness": "#806ec8",
    "disappointment": "#ba9668",
}


def bar(share: float, cells: int, unicode: bool = True) -> str:
    """A bar of text.

    Args:
        share: 0 to 1; values outside are clipped.
        cells: Its full width, characters.
        unicode: Whether eighths of a block can be shown; otherwise ``#``.
    """
    share = min(max(share, 0.0), 1.0) if share == share else 0.0
    if not unicode:
        return ("#" * round(share * cells)).ljust(cells, ".")
    eighths = round(share * cells * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(cells)


def header(message: Mapping[str, Any], measured: Measured) -> Text:
    """Source, whether to believe it, rate, latency and drops, in one line."""
    line = Text()
    line.append(str(message.get("source") or "?"), style="bold")
    valid = bool(message.get("valid", True))
    line.append("  ")
    line.append("live" if valid else str(message.get("reason") or "invalid").replace("_", " "), _state_style(valid))
    if measured.fps is not None:
        line.append(f"  {measured.fps:.1f} fps")
    if measured.latency_p50_ms is not None:
        line.append(f"  {measured.latency_p50_ms:.1f} ms")
    line.append(f"  {measured.dropped} dropped")
    for part in message.get("degraded") or ():
        line.append(f"  degraded: {part}", "bold #ffb000")
    model = message.get("model") or {}
    if model.get("name"):
        line.append("  " + " ".join(str(model[k]) for k in ("name", "precision", "backend") if model.get(k)), "dim")
    return line


def table(message: Mapping[str, Any], width: int = 100, unicode: bool = True) -> Table:
    """One row per face that is not lost.

    Args:
        message: A decoded ``faces/`` body; missing keys are no error.
        width: Characters to fill; a narrow terminal shows fewer classes, then none.
        unicode: Whether block characters can be shown.
    """
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", width=width)
    grid.add_column("face", no_wrap=True)
    if width >= _ALL_COLUMNS:
        grid.add_column("state", no_wrap=True)
    grid.add_column("label", no_wrap=True)
    grid.add_column("", justify="right", no_wrap=True)
    room = max(width - 58, 0)
    top = min(max(room // 20, 1), _TOP)
    cells = max(room // top - 14, 4)
    if width >= _ALL_COLUMNS:
        grid.add_column("scores", no_wrap=True, ratio=1)
    grid.add_column("window", no_wrap=True)
    if width >= _ALL_COLUMNS:
        grid.add_column("age", justify="right", no_wrap=True)
    for face in message.get("faces") or ():
        if face.get("state") != "lost":
            row = _row(face, top, cells, unicode)
            grid.add_row(*(row if width >= _ALL_COLUMNS else [row[k] for k in (0, 2, 3, 5)]))
    return grid


def _row(face: Mapping[str, Any], top: int, cells: int, unicode: bool) -> list[Text]:
    label, confidence, window = face.get("label"), face.get("confidence"), face.get("window") or {}
    if isinstance(label, str):
        said = Text(label, style=f"bold {_COLOURS.get(label, 'white')}")
    else:
        said = Text("unsure" if face.get("ready") else str(face.get("reason") or "waiting"), style="dim")
    scores: Mapping[str, float] = face.get("smoothed") or face.get("probs") or {}
    shown = Text()
    for name in sorted(scores, key=lambda key: -scores[key])[:top]:
        value = float(scores[name])
        shown.append(f"{name[:9]:<9} ", style="" if name == label else "dim")
        shown.append(bar(value, cells, unicode), style=_COLOURS.get(name, "white"))
        shown.append(f"{value * 100:3.0f} ", style="" if name == label else "dim")
    n, need = int(window.get("n") or 0), int(window.get("need") or 0)
    age = face.get("score_age_ms")
    return [
        Text(("*" if face.get("primary") else " ") + str(face.get("id", "?"))),
        Text(str(face.get("state", "")), style="dim"),
        said,
        Text(f"{confidence:.0%}" if face.get("ready") and isinstance(confidence, int | float) else ""),
        shown,
        Text(f"{bar(n / need if need else 0.0, 4, unicode)} {n}/{need}", style="dim" if n >= need else ""),
        Text(f"{age:.0f} ms" if isinstance(age, int | float) else "-", style="dim"),
    ]


def render(message: Mapping[str, Any], measured: Measured, width: int = 100, unicode: bool = True) -> RenderableType:
    """The whole picture: header and table.

    Args:
        message: A decoded ``faces/`` body.
        measured: Rate, latency and drops.
        width: Characters.
        unicode: Whether block characters can be shown.
    """
    faces = [face for face in message.get("faces") or () if face.get("state") != "lost"]
    body: RenderableType = table(message, width, unicode) if faces else Text("no face", style="dim")
    return Group(header(message, measured), body)


def line(message: Mapping[str, Any], measured: Measured) -> str:
    """The same in one line without control characters, for logs and pipes."""
    parts = [header(message, measured).plain]
    for face in message.get("faces") or ():
        if face.get("state") == "lost":
            continue
        window = face.get("window") or {}
        said = face.get("label") or ("unsure" if face.get("ready") else face.get("reason") or "waiting")
        confidence = face.get("confidence")
        figure = (
            f" {confidence:.0%}"
            if face.get("ready") and isinstance(confidence, int | float)
            else f" {window.get('n', 0)}/{window.get('need', 0)}"
        )
        parts.append(f"{face.get('id', '?')}: {said}{figure}")
    return " | ".join(parts)


class TerminalConsole(Console):
    """A console that says so when its reader goes away, where rich would end the process."""

    def on_broken_pipe(self) -> None:
        """Let the writer know."""
        raise BrokenPipeError


class FacesTable:
    """Shows messages as they come, as a sink of the daemon (stream/show/sinks.py) or fed by :meth:`step`.

    Args:
        endpoint: Where the messages are published, shown above them; None leaves it out.
        console: Where to; by default standard output.
        live: Redraw in place; by default only in a terminal that can.
        now_ns: Clock, CLOCK_MONOTONIC ns.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        console: Console | None = None,
        live: bool | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.console = console or TerminalConsole(highlight=False)
        capable = self.console.is_terminal and not self.console.is_dumb_terminal
        # Started with the first message, so that what is printed before it stays above the table.
        self._live = Live(console=self.console, auto_refresh=False) if (capable if live is None else live) else None
        self._endpoint = endpoint
        self._now_ns = now_ns
        self._meters: dict[Any, StreamMeter] = {}
        self._lost = False
        self._shown_ns: int | None = None
        self._last: dict[Any, tuple[Mapping[str, Any], Measured]] = {}

    def __enter__(self) -> FacesTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, message: Message, body: bytes, frame: object = None) -> bool:
        """Take what was published; only ``faces`` are shown, and none once the output takes no more (a full disk).

        Returns:
            False once nobody reads the output any more.
        """
        del frame
        if isinstance(message, Faces) and not self._lost:
            try:
                self.step(msgspec.json.decode(body))
            except BrokenPipeError:
                return False
            except OSError:
                self._lost = True
        return True

    def step(self, message: Mapping[str, Any]) -> bool:
        """Take one decoded ``faces/`` body; redraws at most ten times a second, prints at most once a second.

        Args:
            message: The body as a mapping; missing keys are no error.

        Returns:
            Whether anything was written.
        """
        source = message.get("source")
        self._last[source] = message, self._meters.setdefault(source, StreamMeter()).step(message)
        now_ns = self._now_ns()
        period = _LINE_NS if self._live is None else _REDRAW_NS
        if self._shown_ns is not None and now_ns - self._shown_ns < period:
            return False
        if self._shown_ns is None:
            self._begin()
        self._shown_ns = now_ns
        self._write()
        return True

    def close(self) -> None:
        """Show the last message and give the terminal back."""
        live, shown = self._live, self._shown_ns is not None
        if live is None or not shown:
            return
        with contextlib.suppress(OSError):
            self._write()
            live.stop()
        self._live = None

    def _begin(self) -> None:
        if self._endpoint is not None:
            self.console.print(f"publishing on {self._endpoint}", markup=False, style="dim", soft_wrap=True)
        if self._live is not None:
            self._live.start()

    def _write(self) -> None:
        each = [(printable_values(message), measured) for message, measured in self._last.values()]
        if self._live is None:
            for message, measured in each:
                self.console.print(line(message, measured), markup=False, soft_wrap=True)
            return
        width, unicode = max(self.console.width - 1, 40), self._unicode()
        self._live.update(Group(*(render(*one, width, unicode) for one in each)), refresh=True)

    def _unicode(self) -> bool:
        return self.console.encoding.lower().startswith("utf")


def _state_style(valid: bool) -> str:
    return "#009e73" if valid else "bold white on #dc3220"
