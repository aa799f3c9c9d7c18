"""The parser of commands: the endpoint's options, keys, numbers, errors."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from fslog.cli import main
from fslog.cli.options import (
    CommandError,
    CommandParser,
    add_endpoint_options,
    destination_of,
    seconds,
    transport_to,
    whole,
)

KEYS = {"FSLOG_AUTH_KEY": "auth-key-1", "FSLOG_API_KEY": "api-key-2"}


def parsed(*arguments: str) -> argparse.Namespace:
    """Parse a command's options."""
    parser = CommandParser("fslog try", "Try.", "")
    add_endpoint_options(parser)
    return parser.parse_args(arguments)


def where(*arguments: str, **environ: str) -> str:
    """Return the host of the destination."""
    return destination_of(parsed(*arguments), needs_keys=False, environ=environ).host


def test_options_override_the_environment() -> None:
    """An endpoint overrides a data center, and any option the environment."""
    assert where() == "events-us.freshsuccess.com"
    assert where(FSLOG_DATACENTER="eu") == "events-eu.freshsuccess.com"
    assert where("--datacenter", "us", FSLOG_DATACENTER="eu") == "events-us.freshsuccess.com"
    assert where(FSLOG_ENDPOINT="https://a.example") == "a.example"
    assert where("--endpoint", "https://b.example", FSLOG_ENDPOINT="https://a.example") == (
        "b.example"
    )
    assert where("--datacenter", "eu", FSLOG_ENDPOINT="https://a.example") == (
        "events-eu.freshsuccess.com"
    )
    assert where("--datacenter", "eu", "--endpoint", "https://b.example") == "b.example"


def test_keys_come_from_the_environment() -> None:
    """The destination has the keys of the environment; a missing one is named in the error."""
    to = destination_of(parsed(), needs_keys=True, environ=KEYS)
    assert to.events_url().endswith("/v1/auth-key-1/api-key-2")
    for name in KEYS:
        with pytest.raises(CommandError, match=f"{name} is not set"):
            destination_of(parsed(), needs_keys=True, environ={**KEYS, name: " "})


@pytest.mark.parametrize("given", [["--auth-key", "x"], ["--api-key=x"], ["--auth-key"]])
def test_a_key_is_not_accepted_as_an_argument(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the variables and the reason, and does not print the key."""
    with pytest.raises(SystemExit) as leaving:
        parsed(*given)
    assert leaving.value.code == 2
    said = capsys.readouterr().err
    assert "never from arguments" in said
    assert "'x'" not in said


@pytest.mark.parametrize(
    "given",
    [
        ["--endpoint", "https://events.example/v1/auth-key-1/api-key-2"],
        ["--datacenter", "auth-key-1"],
        ["--timeout", "auth-key-1"],
        ["--nonsense=auth-key-1"],
        ["auth-key-1"],
        ["\x1b[31mauth-key-1\n"],
    ],
)
def test_a_misplaced_key_is_not_printed(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever a key was pasted to, the error is redacted, and control characters are escaped."""
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    assert main(["ping", *given]) == 2
    said = capsys.readouterr().err
    assert "fslog ping: error: " in said
    assert not [text for text in ("auth-key-1", "api-key-2", "\x1b") if text in said]


def test_options_are_not_abbreviated() -> None:
    """The beginning of a name is an error, so that a new option does not change a script."""
    with pytest.raises(SystemExit):
        parsed("--end", "https://b.example")


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (seconds(), {"1": 1.0, " 0.5 ": 0.5}, ["0", "-1", "nan", "inf", "", "1e99", "x"]),
        (seconds(zero=True), {"0": 0.0}, ["-0.1", "nan"]),
        (whole(), {"1": 1, "5000": 5_000}, ["0", "-1", "1.5", "", "x", "9" * 5_000]),
        (whole(0, 9), {"0": 0, "9": 9}, ["-1", "10"]),
    ],
)
def test_numbers(read: Callable[[str], float], good: dict[str, float], bad: list[str]) -> None:
    """A text that is not a number, or not within the bounds, is an error of the argument."""
    assert {text: read(text) for text in good} == good
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="is not a"):
            read(text)


def test_missing_certificates_are_an_error() -> None:
    """A missing file of certificates is an error at once, not at the first request."""
    options = parsed("--ca-certs", "/missing.pem")
    to = destination_of(options, needs_keys=False, environ={})
    with pytest.raises(CommandError, match="ca_certs"):
        transport_to(to, options, None)
