from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.files import create_file
from stream.publish import keys
from stream.publish.endpoint import EndpointError


def test_key_files_are_private_never_overwritten_and_named_in_errors(tmp_path: Path) -> None:
    pair = keys.generate(tmp_path / "k", "me")
    public, secret = pair.public, pair.secret
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert keys.load_pair(secret).public == keys.load_public(public)
    assert keys.load_pair(secret).secret.decode() not in repr(keys.load_pair(secret))
    with pytest.raises(EndpointError, match="exists and is not overwritten"):
        keys.generate(tmp_path / "k", "me")
    with pytest.raises(EndpointError, match="holds no secret key"):
        keys.load_pair(public)
    with pytest.raises(EndpointError, match="key name"):
        keys.generate(tmp_path, "../x")
    with pytest.raises(EndpointError, match="no \\*.key file"):
        keys.load_allowed(tmp_path)
    with pytest.raises(EndpointError, match="no folder"):
        keys.load_allowed(tmp_path / "none")
    (tmp_path / "k" / "leak.key").write_bytes(secret.read_bytes())
    with pytest.raises(EndpointError, match="leak.key holds a secret key"):
        keys.load_allowed(tmp_path / "k")
    for others in (0o604, 0o602, 0o601):
        secret.chmod(others)
        with pytest.raises(EndpointError, match="can be read by everyone; chmod 600"):
            keys.load_pair(secret)
    secret.chmod(0o640)
    assert keys.load_pair(secret).public == keys.load_public(public)
    short = tmp_path / "short.key"
    short.write_text(public.read_text().replace(keys.load_public(public).decode(), "x" * 39))
    with pytest.raises(EndpointError, match="must be 40 characters"):
        keys.load_public(short)
    with pytest.raises(EndpointError, match="cannot read a CURVE key"):
        keys.load_public(tmp_path / "none.key")


@pytest.mark.parametrize("key", ["~" * 40, "%" * 40, "", "é" * 40, "a" * 41])
def test_a_key_that_is_none_is_refused_with_its_file_and_the_remedy(tmp_path: Path, key: str) -> None:
    pair = keys.generate(tmp_path / "k", "me")
    public = keys.load_public(pair.public).decode()
    folder = tmp_path / "allowed"
    folder.mkdir()
    (folder / "x.key").write_text(pair.public.read_text().replace(public, key), "utf-8")
    for read in (lambda: keys.load_public(folder / "x.key"), lambda: keys.load_allowed(folder)):
        with pytest.raises(EndpointError, match=r"x\.key does not hold a CURVE key: its public-key .*; copy"):
            read()
    secret = keys.load_pair(pair.secret).secret.decode()
    pair.secret.write_text(pair.secret.read_text().replace(secret, key), "utf-8")
    with pytest.raises(EndpointError, match=r"me\.key_secret does not hold a CURVE key: its secret-key") as refused:
        keys.load_pair(pair.secret)
    assert secret not in str(refused.value)


def test_halves_of_two_pairs_and_a_secret_that_others_may_write_are_refused(tmp_path: Path) -> None:
    mine, other = keys.generate(tmp_path, "mine"), keys.generate(tmp_path, "other")
    for mode in (0o620, 0o660):
        mine.secret.chmod(mode)
        with pytest.raises(EndpointError, match="mine.key_secret can be written by its group; chmod 600"):
            keys.load_pair(mine.secret)
    mine.secret.chmod(0o600)
    swapped = mine.secret.read_text().replace(
        keys.load_public(mine.public).decode(), keys.load_public(other.public).decode()
    )
    mine.secret.write_text(swapped)
    with pytest.raises(EndpointError, match="mine.key_secret are of two pairs"):
        keys.load_pair(mine.secret)


def test_what_is_no_key_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.key")
    (tmp_path / "long.key").write_bytes(b"#" * 100_000)
    (tmp_path / "binary.key").write_bytes(b"\xff\xfe")
    (tmp_path / "empty.key").write_bytes(b"")
    (tmp_path / "endless.key").symlink_to("/dev/zero")
    for name in ("fifo", "long", "binary", "empty", "endless"):
        with pytest.raises(EndpointError, match=f"cannot read a CURVE key from .*{name}.key"):
            keys.load_public(tmp_path / f"{name}.key")


def test_a_full_disk_leaves_nothing_of_a_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def full(path: Path, data: bytes, mode: int) -> None:
        if made:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        made.append(path)
        create_file(path, data, mode)

    monkeypatch.setattr(keys, "create_file", full)
    with pytest.raises(EndpointError, match=r"cannot write .*me\.key: No space left on device"):
        keys.generate(tmp_path / "keys", "me")
    assert made
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert keys.generate(tmp_path / "keys", "me").secret.is_file()
    assert sorted(p.name for p in (tmp_path / "keys").iterdir()) == ["me.key", "me.key_secret"]


def test_a_new_file_replaces_nothing_and_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"before")
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "a", b"after", 0o600)
    assert (tmp_path / "a").read_bytes() == b"before"
    with pytest.raises(OSError, match="File too large"):
        limited(lambda: create_file(tmp_path / "b", b"x" * 100_000, 0o600))
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def limited(write: Callable[[], None]) -> None:
    """Runs it where files may have 1,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
