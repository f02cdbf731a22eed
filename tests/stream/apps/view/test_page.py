"""The page in a real headless Chromium, against a real daemon on the demo clip."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from stream.publish.message import Faces
from stream.subscribe.client import Client
from tests.stream.apps.view.browser import Browser, chromium
from tests.stream.apps.view.servers import ROOT, daemon, view

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed: apt-get install chromium"),
    pytest.mark.xdist_group("chromium"),
]
AXE = Path(os.environ.get("DFER_AXE") or ROOT / "node_modules" / "axe-core" / "axe.min.js")
STATE = "document.querySelector('.source .state').textContent"
# Rows and columns of the box's own colour: its outline is the only thing drawn in it.
BOX = """(() => {
  const canvas = document.querySelector('[data-part="boxes"]');
  const probe = document.createElement('canvas').getContext('2d');
  probe.fillStyle = getComputedStyle(canvas).getPropertyValue('--box');
  probe.fillRect(0, 0, 1, 1);
  const color = probe.getImageData(0, 0, 1, 1).data;
  const { width, height } = canvas;
  const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  const rows = new Array(height).fill(0), columns = new Array(width).fill(0);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    const k = 4 * (y * width + x);
    const near = [0, 1, 2].every(c => Math.abs(pixels[k + c] - color[c]) < 12);
    if (near && pixels[k + 3] > 200) { rows[y]++; columns[x]++; }
  }
  const ends = counts => {
    const most = Math.max(...counts), long = counts.flatMap((count, n) => count > most / 2 ? [n] : []);
    return [long[0], long.at(-1)];
  };
  return { frame: Number(canvas.dataset.frame), x: ends(columns), y: ends(rows), width };
})()"""
SHOWN = """(() => ({
  frame: Number(document.querySelector('.face').dataset.frame),
  bars: Object.fromEntries([...document.querySelectorAll('[data-part="scores"] > div')].map(
    row => [row.children[0].textContent, [row.children[2].textContent, row.querySelector('i').style.transform]])),
  signals: Object.fromEntries([...document.querySelectorAll('[data-part="signals"] > div')].map(
    row => [row.children[0].textContent, row.children[2].textContent])),
  label: document.querySelector('[data-part="label"]').textContent,
}))()"""


class Heard:
    """Every ``faces`` message of the daemon by its frame, read beside the page."""

    def __init__(self, endpoint: str) -> None:
        self.by_frame: dict[int, Faces] = {}
        self._stop = threading.Event()
        self._client = Client(endpoint)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._client as client:
            while not self._stop.is_set():
                message = client.receive(0.2)
                if isinstance(message, Faces) and message.valid:
                    self.by_frame[message.frame_id] = message

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, psutil.Process, Heard]]:
    """The page's address, the daemon and what it published; with pictures."""
    endpoint = f"ipc://{tmp_path_factory.mktemp('view')}/cam0.ipc"
    with daemon(endpoint, "--with-frames") as child, view(endpoint) as (address, _):
        heard = Heard(endpoint)
        yield address, psutil.Process(child.pid), heard
        heard.close()


@pytest.fixture(scope="module")
def page(running: tuple[str, psutil.Process, Heard]) -> Iterator[Browser]:
    with Browser() as browser:
        browser.open(running[0])
        browser.wait_for("document.querySelector('.face')")
        browser.wait_for("!document.querySelector('[data-part=\"picture\"]').hidden")
        yield browser


def test_boxes_lie_over_the_faces_of_the_very_frame_that_is_shown(
    running: tuple[str, psutil.Process, Heard], page: Browser
) -> None:
    heard, seen = running[2], dict[int, float]()

    def look() -> bool:
        found = page.evaluate(BOX)
        message = heard.by_frame.get(found["frame"])
        if message is None or len(message.faces) != 1 or found["x"][0] is None:
            return False
        assert message.width is not None
        scale = message.width / found["width"]
        x, y, w, h = message.faces[0].box
        (left, right), (top, bottom) = found["x"], found["y"]
        drawn = (left * scale, top * scale, right * scale, bottom * scale)
        wide = min(drawn[2], x + w) - max(drawn[0], x)
        tall = min(drawn[3], y + h) - max(drawn[1], y)
        both = max(wide, 0.0) * max(tall, 0.0)
        area = (drawn[2] - drawn[0]) * (drawn[3] - drawn[1])
        seen[found["frame"]] = both / (area + w * h - both)
        return len(seen) >= 100

    page.wait_until(look, 150, "100 frames")
    assert min(seen.values()) >= 0.7
    assert len(set(seen)) >= 100


def test_bars_label_and_signals_are_the_messages_to_rounding(
    running: tuple[str, psutil.Process, Heard], page: Browser
) -> None:
    heard = running[2]
    page.wait_for("/\\d %/.test(document.querySelector('[data-part=\"label\"]').textContent)")
    page.evaluate("document.getElementById('pause').click()")
    shown = page.evaluate(SHOWN)
    page.wait_until(lambda: shown["frame"] in heard.by_frame)
    face = next(face for face in heard.by_frame[shown["frame"]].faces if face.state != "lost")
    probabilities = face.smoothed
    assert probabilities is not None
    assert set(shown["bars"]) == set(probabilities)
    for name, (text, transform) in shown["bars"].items():
        assert abs(int(text.removesuffix(" %")) - 100 * probabilities[name]) <= 0.5 + 1e-9
        assert float(transform.removeprefix("scaleX(").removesuffix(")")) == pytest.approx(
            probabilities[name], abs=1e-3
        )
    if face.label is not None:
        assert face.confidence is not None
        assert shown["label"] == f"{face.label} {int(100 * face.confidence + 0.5)} %"
    assert face.head is not None
    assert abs(int(shown["signals"]["head yaw"].removesuffix("°")) - face.head.yaw) <= 0.5 + 1e-9
    assert shown["signals"]["left eye"] in ("open", "shut", "–")
    frame = page.evaluate(BOX)["frame"]
    page.wait_until(lambda: max(heard.by_frame) > shown["frame"] + 30)
    assert page.evaluate(BOX)["frame"] == frame
    page.evaluate("document.getElementById('pause').click()")
    page.wait_until(lambda: page.evaluate(BOX)["frame"] > frame)


def test_the_state_line_says_that_the_camera_is_gone_and_back(
    running: tuple[str, psutil.Process, Heard], page: Browser
) -> None:
    page.wait_for(f"/messages\\/s/.test({STATE})")
    (capture,) = running[1].children()
    capture.send_signal(signal.SIGSTOP)
    page.wait_for(f"/camera stalled|no camera/.test({STATE})")
    page.wait_for("document.querySelectorAll('.face').length === 0")
    # The daemon starts another capture process by itself.
    page.wait_for(f"/messages\\/s/.test({STATE})")
    page.wait_for("document.querySelector('.face')")


def test_keyboard_alone_reaches_and_works_everything(page: Browser) -> None:
    page.evaluate("document.activeElement.blur()")
    page.wait_for("document.querySelector('.face')")
    wanted = page.evaluate(
        "[...document.querySelectorAll('button, a[href]')].map(e => e.id || e.dataset.part || e.className)"
    )
    reached: list[str] = []
    for _ in range(3 * len(wanted)):
        page.press("Tab")
        reached.append(
            page.evaluate(
                "(() => { const e = document.activeElement; return e.id || e.dataset.part || e.className; })()"
            )
        )
    assert set(wanted) <= set(reached)
    page.evaluate("document.getElementById('theme').focus()")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.press("Enter")
    page.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") is None


def test_the_live_region_speaks_at_most_once_a_second(page: Browser) -> None:
    page.wait_for("document.getElementById('spoken').textContent.length > 0")
    gaps = page.evaluate(
        """new Promise(done => {
          const times = [], region = document.getElementById('spoken');
          new MutationObserver(() => times.push(performance.now())).observe(region, {childList: true, characterData: true, subtree: true});
          setTimeout(() => done(times.slice(1).map((at, n) => at - times[n])), 6000);
        })"""  # noqa: E501
    )
    assert all(gap > 900 for gap in gaps)
    assert page.evaluate("document.querySelectorAll('[aria-live]').length") == 1


@pytest.mark.skipif(not AXE.is_file(), reason=f"{AXE} is not here: make axe (npm)")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_axe_finds_nothing_serious(page: Browser, width: int, dark: bool) -> None:
    page.emulate(width, 900, dark=dark)
    page.wait_for("document.querySelector('.face')")
    page.evaluate(AXE.read_text(encoding="utf-8") + "; true")
    found = json.loads(page.evaluate("axe.run().then(r => JSON.stringify(r.violations))"))
    said = [(each["id"], each["impact"], [node["html"] for node in each["nodes"]]) for each in found]
    assert [each for each in said if each[1] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.emulate(1280, 900)


def test_reduced_motion_is_obeyed(page: Browser) -> None:
    page.emulate(1280, 900, reduced=True)
    assert page.evaluate("getComputedStyle(document.querySelector('.track i')).transitionDuration") == "0s"
    page.emulate(1280, 900)


def test_no_error_was_logged_and_nobody_else_was_asked(
    running: tuple[str, psutil.Process, Heard], page: Browser
) -> None:
    assert page.errors == []
    own = urlsplit(running[0]).netloc
    assert page.requests
    assert {urlsplit(url).netloc for url in page.requests} == {own}


def test_scores_only_is_the_default_and_says_so_and_two_sources_share_a_page(tmp_path: Path) -> None:
    endpoints = [f"ipc://{tmp_path}/{name}.ipc" for name in ("cam0", "cam1")]
    second = ("--source-name", "cam1")
    with (
        daemon(endpoints[0]) as first,
        daemon(endpoints[1], *second),
        view(*endpoints) as (address, server),
        Browser() as browser,
    ):
        browser.open(address)
        browser.wait_for("document.querySelectorAll('.face').length >= 2")
        assert browser.evaluate("[...document.querySelectorAll('h2')].map(e => e.textContent)") == ["cam0", "cam1"]
        browser.wait_for("document.querySelector('[data-part=\"boxes\"]').dataset.frame > 0")
        assert browser.evaluate("document.querySelector('[data-part=\"picture\"]').hidden") is True
        assert "Scores only" in browser.evaluate("document.querySelector('[data-part=\"without\"]').innerText")
        assert browser.evaluate(BOX)["x"][0] > 0
        first.kill()
        browser.wait_for(f"/no message for|is the daemon running/.test({STATE})")
        assert re.search("messages/s", browser.evaluate("document.querySelectorAll('.source .state')[1].textContent"))
        server.send_signal(signal.SIGTERM)
        browser.wait_for("/gone/.test(document.getElementById('connection').textContent)")
