"""Camera URIs: parsing, and credentials that are never printed."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.camera.frame import CameraError
from stream.camera.uri import parse_uri

SECRET = "S3cr"


@pytest.mark.parametrize(
    ("text", "kind", "target"),
    [
        ("v4l2:///dev/video2", "v4l2", "/dev/video2"),
        ("v4l2://3", "v4l2", "/dev/video3"),
        ("/dev/video1", "v4l2", "/dev/video1"),
        ("/dev/v4l/by-id/usb-Cam", "v4l2", "/dev/v4l/by-id/usb-Cam"),
        ("0", "v4l2", "/dev/video0"),
        ("file:///tmp/a%20b.mp4", "file", "/tmp/a b.mp4"),
        ("clips/a%20b.mp4", "file", "clips/a%20b.mp4"),
        ("FILE:///tmp/x.gif", "file", "/tmp/x.gif"),
        ("csi://1", "csi", "1"),
        ("demo://", "demo", ""),
        ("gst://videotestsrc ! identity", "gst", "videotestsrc ! identity"),
        ("http://host/video", "http", "http://host/video"),
        ("https://host:8443/v?x=1", "http", "https://host:8443/v?x=1"),
        ("rtsp://u:p@host/s", "rtsp", "rtsp://u:p@host/s"),
        ("rtsp://a.b%40c:p@ss:w%rd@host:554/s", "rtsp", "rtsp://a.b%40c:p%40ss%3Aw%25rd@host:554/s"),
    ],
)
def test_parse(text: str, kind: str, target: str) -> None:
    uri = parse_uri(text)
    assert (uri.kind, uri.target) == (kind, target)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no camera"),
        ("rstp://host/x", "did you mean rtsp://"),
        ("ftp://host/x", "unknown camera scheme"),
        ("v4l2://", "names no source"),
        ("csi://left", "sensor number"),
        ("http://user:pw@", "names no host"),
        ("a\0b", "no camera"),
    ],
)
def test_refusals_name_the_remedy(text: str, part: str) -> None:
    with pytest.raises(CameraError, match=part) as caught:
        parse_uri(text)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://user:pw@cam.local:554/live", "rtsp://***@cam.local:554/live"),
        ("http://cam/video?user=a&pwd=b", "http://cam/video?***"),
        ("rtsp://cam/stream", "rtsp://cam/stream"),
        ("gst://rtspsrc location=rtsp://u:p@h user-pw=x ! decodebin", "gst://rtspsrc … ! decodebin"),
        ('gst://rtspsrc user-pw = "a ! b" ! fakesink', "gst://rtspsrc … ! fakesink"),
        ("gst://rtspsrc user-pw='open", "gst://***"),
    ],
)
def test_display(text: str, shown: str) -> None:
    assert parse_uri(text).display == shown


def printed(text: str) -> str:
    uri = parse_uri(text)
    return f"{uri} {uri!r} {uri.display}"


RAW = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_characters="/?#"), max_size=12)


@given(user=RAW, password=RAW, quoted=st.booleans(), scheme=st.sampled_from(["rtsp", "http", "https"]))
def test_credentials_are_never_printed(user: str, password: str, quoted: bool, scheme: str) -> None:
    user, password = f"{SECRET}{user}", f"{SECRET}{password}"
    userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}" if quoted else f"{user}:{password}"
    text = f"{scheme}://{userinfo}@camera.example:554/live"
    shown = printed(text)
    assert SECRET not in shown
    assert shown.startswith(f"{scheme}://***@camera.example:554/live")
    uri = parse_uri(text)
    assert SECRET not in uri.scrub(f"[tcp @ 0x1] {text} refused {unquote(userinfo)} {uri.target}")


@given(user=RAW, password=RAW)
def test_quoted_credentials_reach_the_camera_unchanged(user: str, password: str) -> None:
    target = parse_uri(f"rtsp://x{quote(user, safe='')}:{quote(password, safe='')}@cam/live").target
    parts = urlsplit(target)
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (f"x{user}", password)
    assert parts.hostname == "cam"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20))
@example("@/")
@example("@?")
def test_a_password_with_slashes_is_not_printed_either(password: str) -> None:
    assert SECRET not in printed(f"rtsp://user:{SECRET}{password}{SECRET}@cam/live")


@given(
    value=st.text(st.characters(exclude_characters="\0"), max_size=12),
    key=st.sampled_from(["user-pw", "location", "password", "uri"]),
)
def test_pipeline_properties_are_never_printed(value: str, key: str) -> None:
    for pipeline in (f"rtspsrc {key}={SECRET}{value} ! x", f'rtspsrc {key} = "{SECRET}{value}" ! x'):
        assert SECRET not in printed(f"gst://{pipeline}")


@given(st.text(max_size=30))
def test_any_text_parses_or_is_refused_cleanly(text: str) -> None:
    try:
        uri = parse_uri(text)
    except CameraError:
        return
    assert uri.kind in ("v4l2", "file", "http", "rtsp", "gst", "csi", "demo")
