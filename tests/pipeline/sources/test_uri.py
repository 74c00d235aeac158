"""Addresses: a password is never shown, however strange it is, and arrives whole where it is needed."""

import pytest
from pydantic import ValidationError

from configs import ConfigError
from pipeline.sources import masked, source_from_uri
from pipeline.sources.network import NetworkOptions
from pipeline.sources.uri import scrubbed, split_address

PASSWORDS = ["secret", "p@ss", "a/b", "p@ss/w:d", "100%sure", "se?cret", "ha#sh", "@@//::", "12/34", "p@ss.word/x"]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("tail", ["cam.example/live", "10.0.0.7:554/h264?channel=1", "localhost"])
def test_no_part_of_a_password_is_shown(password: str, tail: str) -> None:
    """Whatever stands between user and host is hidden."""
    shown = masked(f"rtsp://admin:{password}@{tail}")

    assert password not in shown
    assert shown == f"rtsp://admin:***@{tail}"


def test_addresses_without_secrets_stay_as_they_are() -> None:
    """Masking changes nothing where nothing is secret."""
    for text in ("rtsp://cam.example:554/live", "http://host/a?b=c", "rtsp://viewer@cam/live", "clip.mp4", "0", "demo"):
        assert masked(text) == text


def test_secrets_in_the_query_are_hidden() -> None:
    """Cameras take passwords and tokens in the query too."""
    shown = masked("http://cam/video?user=me&password=hunter2&api_token=abc&size=1")

    assert "hunter2" not in shown
    assert "abc" not in shown
    assert "size=1" in shown


@pytest.mark.parametrize(
    ("text", "login", "rest"),
    [
        ("rtsp://cam:554/live", "", "cam:554/live"),
        ("rtsp://u:p@cam/live", "u:p", "cam/live"),
        ("rtsp://u:p@ss@cam/live", "u:p@ss", "cam/live"),
        ("rtsp://u:a/b@cam.example/live", "u:a/b", "cam.example/live"),
        ("rtsp://u:p@ss/w:d@10.0.0.7:554/live", "u:p@ss/w:d", "10.0.0.7:554/live"),
        ("rtsp://u:p@cam.example/stream@2", "u:p", "cam.example/stream@2"),
        ("rtsp://cam:554/stream@2", "", "cam:554/stream@2"),
        ("rtsp://cam/stream@2", "", "cam/stream@2"),
    ],
)
def test_addresses_are_taken_apart(text: str, login: str, rest: str) -> None:
    """User and password end where the host begins, with `@` and `/` on both sides of it."""
    address = split_address(text)

    assert address is not None
    assert (address.login, address.rest) == (login, rest)


def test_hosts_are_found() -> None:
    """With a port, in brackets, alone."""
    hosts = [split_address(text) for text in ("rtsp://cam:554/a", "rtsp://u:p@[fe80::1]:554/a", "http://cam.example?x")]

    assert [address.host for address in hosts if address] == ["cam", "fe80::1", "cam.example"]


def test_the_reader_gets_an_encoded_password() -> None:
    """FFmpeg decodes once, so everything special is encoded once, and what is encoded stays."""
    address = split_address("rtsp://admin:p@ss/w:d%21@cam.example/live")

    assert address is not None
    assert address.for_reader() == "rtsp://admin:p%40ss%2Fw%3Ad%21@cam.example/live"


def test_messages_of_others_are_scrubbed() -> None:
    """FFmpeg repeats the address it was given, encoded; neither form of the password comes through."""
    address = "rtsp://admin:p@ss/word@cam/live"
    reader = split_address(address)
    assert reader is not None

    told = scrubbed(f"failed: {reader.for_reader()} and {address} and p@ss/word", address)

    assert "p@ss" not in told
    assert "p%40ss" not in told
    assert "cam/live" in told


def test_options_never_print_the_password() -> None:
    """Neither repr, nor str, nor what is written to a report shows it; the reader still has it."""
    options = NetworkOptions(uri="rtsp://admin:hunter2@cam/live")  # type: ignore[arg-type]

    for text in (repr(options), str(options), str(options.model_dump()), options.model_dump_json(), options.label):
        assert "hunter2" not in text
    assert "hunter2" in options.uri.get_secret_value()


def test_wrong_addresses_are_refused_without_the_password() -> None:
    """The message about a wrong address does not repeat it whole."""
    with pytest.raises(ConfigError) as refused:
        source_from_uri("rtsp://admin:hunter2@")
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in str(refused.value.__cause__)

    with pytest.raises(ValidationError) as invalid:
        NetworkOptions(uri="ftp://admin:hunter2@cam")  # type: ignore[arg-type]
    assert "hunter2" not in str(invalid.value)
