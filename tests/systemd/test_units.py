from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.settings import load
from stream.config import Settings

HERE = Path(__file__).resolve().parents[2] / "systemd"
UNITS = ("dferstream@.service", "dferstream-build@.service")
FLEET = ("dferstream.target", "dferstream-prometheus.service")
MOST_EXPOSURE, MOST_WITH_NETWORK = 1.2, 1.6

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (apt-get install systemd)"
)


def install(root: Path, *more: str) -> str:
    command = ["bash", str(HERE / "install.sh"), "--root", str(root), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with every unit as an instance, as installed with all drop-ins, whose programs exist."""
    prefix = tmp_path / "opt"
    (prefix / "bin").mkdir(parents=True)
    for name in ("dfer-stream", "dfer-engine"):
        program = prefix / "bin" / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    install(tmp_path / "root", "--prefix", str(prefix), "--nvidia", "--network")
    units = tmp_path / "root" / "etc" / "systemd" / "system"
    for name in UNITS:
        (units / name.replace("@", "@cam0")).write_bytes((units / name).read_bytes())
    return units


@needs_systemd
@pytest.mark.parametrize("name", [*UNITS, *FLEET])
def test_verify_has_nothing_to_say(installed: Path, name: str) -> None:
    # It exits 0 even on unknown keys: its standard error must be empty.
    command = ["systemd-analyze", "verify", "--recursive-errors=no", str(installed / name.replace("@", "@cam0"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.strip()) == (0, "")


@needs_systemd
def test_verify_would_have_said_something(installed: Path) -> None:
    path = installed / "dferstream@cam0.service"
    path.write_text(path.read_text().replace("ProtectHome=yes", "ProtectHomes=yes"))
    command = ["systemd-analyze", "verify", "--recursive-errors=no", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "ProtectHomes" in done.stderr


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("network", [False, True])
def test_exposure_is_low(installed: Path, name: str, network: bool) -> None:
    if not network:
        (installed / "dferstream@.service.d" / "network.conf").unlink()
    command = ["systemd-analyze", "security", "--offline=true", str(installed / name.replace("@", "@cam0"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= (MOST_WITH_NETWORK if network else MOST_EXPOSURE)


@needs_systemd
def test_the_metrics_unit_is_closed(installed: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", str(installed / FLEET[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= MOST_WITH_NETWORK


def test_the_target_takes_every_camera_and_the_metrics_along(installed: Path) -> None:
    for name in (UNITS[0], FLEET[1]):
        lines = (installed / name).read_text().splitlines()
        assert "PartOf=dferstream.target" in lines, "stopped and restarted with it"
        assert any(line.startswith("WantedBy=dferstream.target") for line in lines), "started with it"


def test_the_daemons_unit_says_what_its_life_needs() -> None:
    text = (HERE / UNITS[0]).read_text()
    for line in (
        "Type=notify",
        "NotifyAccess=main",
        "User=dferstream",
        "SupplementaryGroups=video render",
        "DevicePolicy=closed",
        "DeviceAllow=char-video4linux rw",
        "ProtectSystem=strict",
        "RuntimeDirectory=dferstream",
        "RuntimeDirectoryPreserve=yes",
        "RestrictAddressFamilies=AF_UNIX",
        "MemoryMax=2G",
        "TasksMax=256",
        "LimitNOFILE=4096",
        "ExecStart=/opt/dferstream/bin/dfer-stream run --config /etc/dferstream/%i.toml --source-name %i",
    ):
        assert line in text.splitlines()
    watchdog = re.search(r"^WatchdogSec=(\d+)$", text, re.MULTILINE)
    assert watchdog is not None
    assert 10 <= int(watchdog[1]) <= 60
    assert re.search(r"^RestartSec=1$", text, re.MULTILINE)


def test_the_first_settings_file_can_be_used(tmp_path: Path) -> None:
    loaded = load(Settings, HERE / "dferstream.toml").settings
    assert loaded.source.uri == "v4l2:///dev/video0"
    commented = re.sub(r"^# (?=\w+ = )", "", (HERE / "dferstream.toml").read_text(), flags=re.MULTILINE)
    (tmp_path / "all.toml").write_text(commented)
    assert load(Settings, tmp_path / "all.toml").settings.camera.width == 640


def test_installing_twice_changes_nothing_and_keeps_settings(tmp_path: Path) -> None:
    root = tmp_path / "root"
    first = install(root, "--prefix", "/srv/dfer", "--source", "porch", "--nvidia", "--network")
    settings = root / "etc/dferstream/porch.toml"
    settings.write_text("[source]\nuri = 'demo://'\n")
    before = tree(root)
    assert "etc/systemd/system/dferstream@.service.d/nvidia.conf" in before
    assert b"ExecStart=/srv/dfer/bin/dfer-stream run" in before["etc/systemd/system/dferstream@.service"]
    assert not any(b"/opt/dferstream" in content for content in before.values())
    second = install(root, "--prefix", "/srv/dfer", "--source", "porch", "--nvidia", "--network")
    assert tree(root) == before
    assert "installed " in first
    assert "installed " not in second


def test_a_dry_run_touches_nothing(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    out = install(root, "--dry-run")
    assert "dferstream@.service" in out
    assert tree(root) == {}
    install(root)
    before = tree(root)
    out = install(root, "--uninstall", "--purge", "--dry-run")
    assert "rm -rf" in out
    assert tree(root) == before


@pytest.mark.parametrize("jetson", [False, True])
def test_a_jetson_is_given_its_own_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jetson: bool) -> None:
    (tmp_path / "r36").touch()
    monkeypatch.setenv("DFERSTREAM_TEGRA_RELEASE", str(tmp_path / ("r36" if jetson else "none")))
    command = ["bash", str(HERE / "install.sh"), "--dry-run", "--nvidia", "--prefix", str(tmp_path / "opt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert ("-m venv --system-site-packages" in done.stdout) == jetson
    assert "..\\[prometheus\\,tensorrt\\]" in done.stdout


def test_uninstalling_leaves_settings_unless_purged(tmp_path: Path) -> None:
    root = tmp_path / "root"
    mine = root / "opt" / "dferstream" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("not of this script")
    install(root, "--nvidia", "--network")
    install(root, "--uninstall")
    assert set(tree(root)) == {"etc/dferstream/cam0.toml", "opt/dferstream/mine.txt"}
    install(root, "--uninstall", "--purge")
    assert set(tree(root)) == {"opt/dferstream/mine.txt"}
    install(root, "--uninstall")  # nothing left to take: still fine


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--prefix", "relative"], "must be an absolute path"),
        (["--prefix", "/opt/a b"], "may hold letters"),
        (["--source", "../x"], "--source must be"),
        (["--what"], "unknown option --what"),
        (["--prefix"], "--prefix needs a value"),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, argv: list[str], words: str) -> None:
    command = ["bash", str(HERE / "install.sh"), "--root", str(tmp_path / "root"), *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "root").exists()


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_the_user_is_made_in_an_images_root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("making users needs root")
    root = tmp_path / "root"
    install(root)
    (root / "etc").mkdir(exist_ok=True)
    for _ in range(2):
        done = subprocess.run(
            ["systemd-sysusers", f"--root={root}", str(root / "usr/lib/sysusers.d/dferstream.conf")],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    assert "dferstream:" in (root / "etc/passwd").read_text()
    groups = (root / "etc/group").read_text()
    assert all(f"{name}:" in groups for name in ("video", "render", "dferstream"))


def test_the_script_is_sound() -> None:
    subprocess.run(["bash", "-n", str(HERE / "install.sh")], check=True, timeout=60)
    assert os.access(HERE / "install.sh", os.X_OK)
