"""A real headless Chromium, driven through its DevTools protocol over aiohttp."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

_T = TypeVar("_T")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
)  # fmt: skip
_DEADLINE_S = 90.0


def chromium() -> str | None:
    """Where Chromium is, if it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One window.

    Attributes:
        errors: Uncaught exceptions, and what was logged as an error.
        requests: Every address asked for.
    """

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        self._loop = asyncio.new_event_loop()
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        command = [str(chromium()), *FLAGS, f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}"]
        self.process = subprocess.Popen(
            [*command, "about:blank"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        try:
            self._run(self._attach())
        except BaseException:
            self.process.kill()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(Exception):
            self._run(self._detach())
        self.process.kill()
        self.process.wait()
        self._loop.close()
        self._profile.cleanup()

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = _DEADLINE_S) -> None:
        """Wait until an expression is true."""
        self.wait_until(lambda: self.evaluate(f"Boolean({script})"), seconds, f"{script}; {self.errors}")

    def wait_until(self, done: Callable[[], Any], seconds: float = _DEADLINE_S, what: str = "") -> Any:
        """Wait until a call gives something true."""
        deadline = time.monotonic() + seconds
        while True:
            found = done()
            if found:
                return found
            assert time.monotonic() < deadline, f"not so within {seconds:g} s: {what}"
            self._run(asyncio.sleep(0.02))

    def press(self, key: str) -> None:
        """Press and release a key: ``Tab``, ``Enter``."""
        text = {"Enter": "\r"}.get(key, "")
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("keyDown", "keyUp"):
            given = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **given)

    def emulate(self, width: int, height: int, dark: bool = False, reduced: bool = False, scale: float = 1) -> None:
        """Another window, colour scheme and motion."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if reduced else "no-preference"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path, quality: int = 80) -> None:
        """Write a WebP picture of the window."""
        answer = self.call("Page.captureScreenshot", format="webp", quality=quality)
        path.write_bytes(base64.b64decode(answer["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a DevTools method."""
        return self._run(self._call(method, parameters))

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._loop.run_until_complete(asyncio.wait_for(work, _DEADLINE_S))

    async def _attach(self) -> None:
        port_file = Path(self._profile.name) / "DevToolsActivePort"
        deadline = time.monotonic() + _DEADLINE_S
        while not (port_file.is_file() and len(port_file.read_text().split()) == 2):
            assert time.monotonic() < deadline, "Chromium does not start"
            assert self.process.poll() is None, "Chromium has ended"
            await asyncio.sleep(0.02)
        port = port_file.read_text().split()[0]
        self._session = aiohttp.ClientSession()
        targets: list[dict[str, Any]] = []
        while not targets:
            async with self._session.get(f"http://127.0.0.1:{port}/json") as answer:
                targets = [target for target in await answer.json() if target["type"] == "page"]
        self._socket = await self._session.ws_connect(targets[0]["webSocketDebuggerUrl"], max_msg_size=0)
        self._reader = asyncio.create_task(self._read())
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self._call(f"{domain}.enable", {})

    async def _detach(self) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._call("Browser.close", {}), 5)
        await self._session.close()
        self._reader.cancel()

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        number = next(self._ids)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        try:
            return await answer
        finally:
            del self._answers[number]

    async def _read(self) -> None:
        async for message in self._socket:
            body = message.json()
            waiting = self._answers.get(body.get("id"))
            if waiting is not None:
                if "error" in body:
                    waiting.set_exception(AssertionError(body["error"]))
                else:
                    waiting.set_result(body["result"])
            elif body.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(body["params"]["exceptionDetails"]))
            elif body.get("method") == "Log.entryAdded" and body["params"]["entry"]["level"] == "error":
                self.errors.append(str(body["params"]["entry"]))
            elif body.get("method") == "Runtime.consoleAPICalled" and body["params"]["type"] in ("error", "warning"):
                self.errors.append(str(body["params"]["args"]))
            elif body.get("method") == "Network.requestWillBeSent":
                self.requests.append(body["params"]["request"]["url"])
            elif body.get("method") == "Network.webSocketCreated":
                self.requests.append(body["params"]["url"])
