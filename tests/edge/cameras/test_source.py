"""--source text to Source: every accepted form, and no password in anything shown."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.cameras.source import Kind, parse_source
from edge.errors import ConfigError

SECRET = "Hunter2Hunter2"


@pytest.mark.parametrize(
    ("text", "kind", "name", "address"),
    [
        ("picamera", "picamera", "picamera", "0"),
        ("picamera:1", "picamera", "picamera:1", "1"),
        ("0", "usb", "usb:0", "/dev/video0"),
        (" 0 ", "usb", "usb:0", "/dev/video0"),
        ("usb", "usb", "usb:0", "/dev/video0"),
        ("usb:2", "usb", "usb:2", "/dev/video2"),
        ("/dev/video0", "usb", "/dev/video0", "/dev/video0"),
        ("usb:/dev/v4l/by-id/cam-index0", "usb", "/dev/v4l/by-id/cam-index0", "/dev/v4l/by-id/cam-index0"),
        ("rtsp://h/a", "network", "rtsp://h/a", "rtsp://h/a"),
        ("RTSP://u:pw@h:8554/a?c=1", "network", "rtsp://h:8554/a", "RTSP://u:pw@h:8554/a?c=1"),
        ("http://[::1]:81/m", "network", "http://[::1]:81/m", "http://[::1]:81/m"),
        ("clips/a.mp4", "video", "clips/a.mp4", "clips/a.mp4"),
        ("a.JPG", "pictures", "a.JPG", "a.JPG"),
        ("7.mp4", "video", "7.mp4", "7.mp4"),
    ],
)
def test_accepted(text: str, kind: Kind, name: str, address: str) -> None:
    source = parse_source(text)
    assert (source.kind, source.name, source.address) == (kind, name, address)
    assert source.live == (kind in ("picamera", "usb", "network"))


def test_a_folder_is_pictures_and_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_source(str(tmp_path)).kind == "pictures"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_source("~/clip.mp4").address == str(tmp_path / "clip.mp4")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "a\nb.mp4",
        "a\0b",
        "usb:x",
        "usb:",
        "picamera:x",
        "ftp://h/x",
        "rtsp://",
        "rtsp:///path",
        f"rtsp:/u:{SECRET}@h/x",
        f"u:{SECRET}@h:554/x",
        f"ftp://u:{SECRET}@h/x",
        f"{SECRET}!://h/x",
        f"rtsp://u:{SECRET}/more@h/x",
        f"rtsp://u:{SECRET}?more@h/x",
        f"rtsp://u:{SECRET}#more@h/x",
        f"rtsp://u:12/{SECRET}@h/x",
        f"rtsp://u:{SECRET}@h:99999/x",
        f"rtsp://u:{SECRET}@[h/x",
        f"rtsp://u:{SECRET}@h\uff03x/y",
    ],
)
def test_refused_in_one_line_without_the_password(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_source(text)
    message = str(caught.value)
    assert "expected" in message
    assert "\n" not in message
    assert SECRET not in message
    assert caught.value.__cause__ is None


@given(password=st.text(min_size=1), user=st.text(), scheme=st.sampled_from(["rtsp", "rtsps", "http", "https"]))
def test_an_escaped_password_is_kept_for_the_adapter_and_shown_nowhere(password: str, user: str, scheme: str) -> None:
    secret = SECRET + quote(password.encode("utf-8", "surrogatepass"), safe="")
    url = (
        f"{scheme}://{quote(user.encode('utf-8', 'surrogatepass'), safe='')}:{secret}@cam.local:99/live?token={SECRET}"
    )
    source = parse_source(url)
    assert source.address == url
    assert source.name == f"{scheme}://cam.local:99/live"
    assert SECRET not in repr(source) + str(source)


@given(before=st.text(max_size=8), after=st.text(max_size=8))
def test_an_unescaped_password_is_shown_nowhere(before: str, after: str) -> None:
    try:
        shown = parse_source(f"rtsp://user:{before}{SECRET}{after}@host/x").name
    except ConfigError as error:
        shown = str(error)
    assert SECRET not in shown


@given(st.text())
def test_any_text_is_a_source_or_a_config_error(text: str) -> None:
    try:
        source = parse_source(text)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert source.name.isprintable()
        assert source.address
