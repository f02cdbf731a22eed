"""The command as people start it: real processes, real ports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec
import psutil
import pytest
from aiohttp.test_utils import TestClient, TestServer

from stream.apps.view.access import COOKIE, Access
from stream.apps.view.mailbox import Hub
from stream.apps.view.server import application
from stream.publish.publisher import Publisher
from stream.publish.wire import boot_id
from tests.stream.apps.view.servers import ROOT, command, line_with, process, view
from tests.waiting import wait_for


def refused(*arguments: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command("view", *arguments), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_port_in_use_a_bad_address_and_a_bad_endpoint_are_one_line_each() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} is in use; name another with --port" in refused("tcp://127.0.0.1:9", "--port", port)
    assert "cannot serve on 203.0.113.9:8123" in refused("tcp://127.0.0.1:9", "--host", "203.0.113.9", "--port", "8123")
    assert "is no endpoint" in refused("nonsense", "--port", "0")
    assert "leave the endpoints away" in refused("--demo", "tcp://127.0.0.1:9")


def test_a_missing_extra_is_one_line_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['aiohttp'] = None\n")
    line = refused("tcp://127.0.0.1:9", env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert "pip install 'dferstream[view]'" in line


def test_help_and_the_other_commands_do_without_the_extra(tmp_path: Path) -> None:
    code = "import sys; sys.modules['aiohttp'] = None; from stream.cli import main; main(['view', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--host" in done.stdout


def test_a_dead_endpoint_is_said_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    with view(f"ipc://{tmp_path}/none.ipc", "--open") as (address, child):
        assert "no browser can be opened here" in line_with(child, "browser")
        assert urlsplit(address).hostname == "127.0.0.1"
        assert "nothing heard on" in line_with(child, "nothing heard")
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 130
    with view(f"ipc://{tmp_path}/none.ipc") as (_, child):
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0


def test_the_demo_ends_its_daemon_even_when_it_is_killed() -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with process("view", "--demo", "--port", "0") as child:
            line_with(child, "http://")
            started = psutil.Process(child.pid).children(recursive=True)
            assert started
            child.send_signal(number)
            child.wait(30)
            wait_for(lambda started=started: not any(each.is_running() for each in started))  # type: ignore[misc]


def asked(address: str, path: str = "/", **headers: str) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(address)
    connection = HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def test_other_hosts_origins_and_paths_are_refused_and_nothing_is_inline(tmp_path: Path) -> None:
    with view(f"ipc://{tmp_path}/none.ipc") as (address, _):
        status, headers, page = asked(address)
        assert status == 200
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert b"<style" not in page
        assert b" style=" not in page
        assert b"<script>" not in page
        assert b" onclick" not in page
        assert asked(address, Host="evil.example")[0] == 421
        assert asked(address, Origin="http://evil.example")[0] == 403
        assert (
            asked(address, "/feed", Origin="http://evil.example", Upgrade="websocket", Connection="Upgrade")[0] == 403
        )
        for path in ("/../command.py", "/%2e%2e/command.py", "/page/main.js", "/index.htm"):
            status, headers, _ = asked(address, path)
            assert status == 404
            assert "Content-Security-Policy" in headers


def test_beyond_this_machine_the_token_becomes_a_cookie() -> None:
    with view("tcp://127.0.0.1:9", "--host", "0.0.0.0") as (address, _):
        parts = urlsplit(address)
        local = f"http://127.0.0.1:{parts.port}/"
        assert asked(local)[0] == 401
        assert asked(local, "/feed")[0] == 401
        assert asked(local, "/?token=wrong")[0] == 401
        status, headers, _ = asked(local, f"/?{parts.query}")
        assert (status, headers["Location"]) == (303, "/")
        cookie = headers["Set-Cookie"]
        assert cookie.startswith(f"{COOKIE}=")
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert asked(local, Cookie=cookie.partition(";")[0])[0] == 200
        assert asked(local, "/main.js", Cookie=f"{COOKIE}=x")[0] == 401


def test_messages_of_another_version_and_rubbish_are_counted_and_passed_over(tmp_path: Path) -> None:
    import asyncio

    from stream.apps.view.feed import Feed, Item, Place

    async def look() -> dict[str, list[dict[str, object]]]:
        hub, loop = Hub(), asyncio.get_running_loop()
        seen: dict[str, list[dict[str, object]]] = {}
        with Publisher("cam0", f"ipc://{tmp_path}/a.ipc", with_frames=True) as publisher:

            def take(item: Item) -> None:
                loop.call_soon_threadsafe(hub.take, item)

            feed = Feed(Place(publisher.endpoint), take)
            async with TestClient(TestServer(application(hub, Access.to("127.0.0.1"), ["x"]))) as client:
                socket_ = await client.ws_connect("/feed")
                while not {"faces", "skipped", "picture"} <= set(seen):
                    publisher.faces(b"not json")
                    publisher.faces(b'{"schema": "dfer.faces/9.0"}')
                    publisher.faces(faces_body())
                    publisher.picture(b"\xff\xd8rest", 7)
                    publisher._put(b"frames/cam0 no picture")
                    try:
                        message = await socket_.receive(timeout=0.05)
                    except asyncio.TimeoutError:
                        continue
                    if message.type is aiohttp.WSMsgType.BINARY:
                        length = int.from_bytes(message.data[:2], "big")
                        seen.setdefault("picture", []).append(json.loads(message.data[2 : 2 + length]))
                    else:
                        body = json.loads(message.data)
                        seen.setdefault(body["type"], []).append(body)
                await socket_.close()
            feed.close()
        return seen

    seen = asyncio.run(asyncio.wait_for(look(), 60))
    assert seen["hello"][0]["endpoints"] == ["x"]
    assert seen["picture"][0] == {"source": "cam0", "frame_id": 7}
    assert seen["faces"][0]["body"]["source"] == "cam0"  # type: ignore[index]
    assert isinstance(seen["skipped"][-1]["count"], int)


def faces_body() -> bytes:
    return msgspec.json.encode(
        {
            "schema": "dfer.faces/1.1", "source": "cam0", "session": "s", "seq": 1, "frame_id": 1, "dropped_total": 0,
            "t_publish_ns": 1, "boot_id": boot_id(), "valid": True, "reason": "ok",
        }
    )  # fmt: skip


def test_what_is_shown_is_all_in_the_package(tmp_path: Path) -> None:
    page = ROOT / "stream" / "apps" / "view" / "page"
    written = "\n".join(path.read_text(encoding="utf-8") for path in page.iterdir())
    assert "http://www.w3.org/2000/svg" in written
    assert written.replace("http://www.w3.org/2000/svg", "").count("://") == written.count("`${scheme}://")
    assert sum(path.stat().st_size for path in page.iterdir()) < 60_000


@pytest.mark.parametrize("bad", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_refused(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    from stream.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["view", "--port", bad])
    assert ended.value.code == 2
    assert "65535" in capsys.readouterr().err
