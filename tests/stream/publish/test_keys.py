from __future__ import annotations

import stat
from pathlib import Path

import pytest

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
