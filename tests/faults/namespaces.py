"""Namespaces of one's own: a network that can be cut, small disks that can be filled; the machine's are not touched.

:func:`inside` starts the program again in new network and mount namespaces, as root or with a user namespace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_MARK = "DFER_FAULTS_INSIDE"
_WAYS = (["unshare", "--net", "--mount"], ["unshare", "--user", "--map-root-user", "--net", "--mount"])


def inside(module: str, words: Sequence[str]) -> bool:
    """Whether this process has namespaces of its own; where they can be had it does not return but starts anew."""
    if _MARK in os.environ:
        return os.environ[_MARK] == "yes"
    if all(map(shutil.which, ("unshare", "nsenter", "ip", "mount"))):
        for way in _WAYS:
            if subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
                os.environ[_MARK] = "yes"
                os.execvp(way[0], [*way, sys.executable, "-m", module, *words])
    return False


class Network:
    """Hosts on one bridge, each a network namespace; the daemon has a second link, to its camera.

    Args:
        hosts: Their names.
        folder: For the namespaces' files.
    """

    camera = "10.19.1.1"

    def __init__(self, hosts: Sequence[str], folder: Path) -> None:
        self._folder = folder
        self.addresses = {name: f"10.19.0.{2 + k}" for k, name in enumerate(hosts)}
        Path("/run/netns").mkdir(exist_ok=True)
        _do("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        _do("ip", "link", "set", "lo", "up")
        _do("ip", "link", "add", "bridge", "type", "bridge")
        _do("ip", "address", "add", "10.19.0.1/24", "dev", "bridge")
        _do("ip", "link", "set", "bridge", "up")
        for name in hosts:
            self.add(name)

    def add(self, name: str) -> None:
        """Make a host; whatever was known of one before is not known to it."""
        _do("ip", "netns", "add", name)
        self._link(name, self.link(name), "eth0", self.addresses[name])
        _do("ip", "link", "set", self.link(name), "master", "bridge")
        if name == "daemon":
            self._link(name, "v-camera", "eth1", "10.19.1.2")
            _do("ip", "address", "add", f"{self.camera}/24", "dev", "v-camera")

    def remove(self, name: str) -> None:
        """Take a host away, with its connections; its programs must have ended, or it lives on without a name."""
        for link in (self.link(name), *(["v-camera"] if name == "daemon" else [])):
            _do("ip", "link", "delete", link)
        _do("ip", "netns", "delete", name)

    def prefix(self, name: str) -> list[str]:
        """What runs a command on a host."""
        return ["nsenter", f"--net=/run/netns/{name}"]

    def link(self, name: str) -> str:
        """The cable of a host."""
        return f"v-{name}"

    def cut(self, link: str) -> None:
        """Pull a cable."""
        _do("ip", "link", "set", link, "down")

    def mend(self, link: str) -> None:
        """Put it back."""
        _do("ip", "link", "set", link, "up")

    def _link(self, host: str, here: str, there: str, address: str) -> None:
        # A machine that comes back has the address that its neighbours' tables hold.
        mac = "02:" + ":".join(f"{int(part):02x}" for part in (*address.split("."), "1"))
        _do(*("ip", "link", "add", here, "type", "veth", "peer", "name", there, "address", mac, "netns", host))
        _do("ip", "-n", host, "address", "add", f"{address}/24", "dev", there)
        for words in (("-n", host, "link", "set", there), ("-n", host, "link", "set", "lo"), ("link", "set", here)):
            _do("ip", *words, "up")


class Disk:
    """A file system of some megabytes at a folder.

    Args:
        folder: Where; made.
        megabytes: Its size.
    """

    def __init__(self, folder: Path, megabytes: int = 64) -> None:
        folder.mkdir()
        self._folder, self._filler = folder, folder / "filler"
        _do("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder))

    def fill(self) -> None:
        """Take all that is left."""
        with self._filler.open("wb", buffering=0) as file:
            piece = bytes(1 << 16)
            try:
                while True:
                    file.write(piece)
            except OSError:
                return

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it."""
        _do("umount", "--lazy", str(self._folder))


def _do(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
