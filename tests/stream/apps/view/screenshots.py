"""The README's pictures of the live page: ``python -m tests.stream.apps.view.screenshots FOLDER``.

Only the built-in clip is shown. WebP, 300 kB together at most.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.stream.apps.view.browser import Browser
from tests.stream.apps.view.servers import daemon, view

SHOTS = (("dark", 1180, 930, 1.0), ("light", 1180, 930, 1.0), ("phone", 390, 844, 1.5))


def main(folder: Path) -> int:
    """Write ``view-dark.webp``, ``view-light.webp`` and ``view-phone.webp``."""
    with tempfile.TemporaryDirectory() as place:
        endpoint = f"ipc://{place}/cam0.ipc"
        with daemon(endpoint, "--with-frames"), view(endpoint) as (address, _), Browser() as browser:
            browser.emulate(1180, 930, dark=True)
            browser.open(address)
            browser.wait_for("document.querySelector('.face')")
            # A history worth looking at, and a smile.
            browser.evaluate("new Promise(done => setTimeout(done, 31000))")
            for name, width, height, scale in SHOTS:
                browser.emulate(width, height, dark=name == "dark", scale=scale)
                browser.wait_for("document.querySelector('.label').textContent.startsWith('happiness')")
                browser.evaluate("new Promise(done => setTimeout(done, 500))")
                browser.screenshot(folder / f"view-{name}.webp", quality=72)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
