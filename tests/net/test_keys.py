"""Keys in files: how they are found, and that no error shows one."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

import pytest

from fslog import FreshsuccessHandler
from fslog.net.destination import Destination, destination
from fslog.net.keys import find_key, known_keys, read_key_file

AUTH, API = "Zx9Qw7LkAb3RtHj5", "Mn5Yb8Pd2Uv6Cg4W"
OTHER = "Kp2Vn8Xs4Wd6Fq3J"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Write both keys, as a mounted secret has them, and return the paths."""
    (tmp_path / "auth").write_text(f"{AUTH}\n")
    (tmp_path / "api").write_text(f"  {API}\r\n")
    return str(tmp_path / "auth"), str(tmp_path / "api")


def make(environ: dict[str, str] | None = None, **arguments: Any) -> Destination:
    """Return a destination of some arguments and an environment."""
    given: dict[str, Any] = dict.fromkeys(("auth_key", "api_key", "datacenter", "endpoint"))
    given |= {"proxy": "", "needs_keys": True, **arguments}
    return destination(**given, environ=environ or {}, log=lambda level, text: None)


def refusal(kind: type[Exception], environ: dict[str, str] | None = None, **arguments: Any) -> str:
    """Return an error's text, after its whole traceback was searched for keys."""
    with pytest.raises(kind) as caught:
        make(environ, **arguments)
    shown = "".join(traceback.format_exception(caught.value))
    assert not any(key in shown for key in (AUTH, API, OTHER))
    return str(caught.value)


def test_arguments_and_variables_name_files(files: tuple[str, str]) -> None:
    """Both keys are read without blanks and newlines; an argument wins over any variable."""
    auth, api = files
    for given in (auth, Path(auth)):
        to = make(auth_key_file=given, api_key_file=api)
        assert to.events_url().endswith(f"/v1/{AUTH}/{API}")
    environ = {"FSLOG_AUTH_KEY_FILE": auth, "FSLOG_API_KEY_FILE": f" {api} "}
    assert make(environ).events_url().endswith(f"/v1/{AUTH}/{API}")
    assert make(environ, auth_key=OTHER).events_url().endswith(f"/v1/{OTHER}/{API}")
    keys = {"FSLOG_AUTH_KEY": OTHER, "FSLOG_API_KEY": OTHER}
    to = make(keys, auth_key_file=auth, api_key_file=api)
    assert to.events_url().endswith(f"/v1/{AUTH}/{API}")
    # A template of a configuration may leave either empty.
    to = make(environ, auth_key="", auth_key_file=" ", api_key="", api_key_file="")
    assert to.events_url().endswith(f"/v1/{AUTH}/{API}")


def test_a_home_directory_is_expanded(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~` is the home directory, as in `spool`."""
    monkeypatch.setenv("HOME", os.path.dirname(files[0]))
    assert find_key("auth_key", None, "~/auth", {}, needed=True).value == AUTH


def test_a_key_and_its_file_are_an_error(files: tuple[str, str]) -> None:
    """Which one counts would be a guess; the message names both."""
    auth, api = files
    text = refusal(ValueError, auth_key=AUTH, auth_key_file=auth, api_key_file=api)
    assert text == "auth_key and auth_key_file are both given; expected one of the two"
    environ = {"FSLOG_API_KEY": API, "FSLOG_API_KEY_FILE": api}
    text = refusal(ValueError, environ, auth_key=AUTH)
    assert text == "FSLOG_API_KEY and FSLOG_API_KEY_FILE are both set; expected one of the two"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "which cannot be read: No such file or directory"),
        (b"", "which is empty"),
        (b" \n", "which is empty"),
        (b"\xff\xfe", "which contains no text"),
        (f"{AUTH}\n{OTHER}\n".encode(), "has a character that a URL's path cannot contain"),
        (f"auth={AUTH}/{OTHER}".encode(), "has a character that a URL's path cannot contain"),
        (b"..", "consists of dots only"),
    ],
)
def test_an_error_names_the_file_and_no_content(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    """What is wrong with a file is said when the configuration is loaded, without the content."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    text = refusal(ValueError, auth_key_file=str(path), api_key=API)
    assert f"auth_key_file {str(path)!r}" in text.replace(" is '", " '")
    assert reason in text
    environ = {"FSLOG_AUTH_KEY_FILE": str(path)}
    assert "FSLOG_AUTH_KEY_FILE" in refusal(ValueError, environ, api_key=API)
    assert reason in refusal(ValueError, environ, api_key=API, needs_keys=None)


def test_a_directory_and_a_wrong_type(tmp_path: Path) -> None:
    """A directory is no file; a number is no path."""
    text = refusal(ValueError, auth_key_file=str(tmp_path), api_key=API)
    assert "cannot be read: Is a directory" in text
    text = refusal(TypeError, auth_key_file=7, api_key=API)
    assert text == "auth_key_file is of type int; expected a path, as a string"
    text = refusal(TypeError, auth_key_file=b"/x", api_key=API)
    assert text == "auth_key_file is of type bytes; expected a path, as a string"


@pytest.mark.parametrize("given", [AUTH, f"https://events-us.freshsuccess.com/v1/{AUTH}/{API}"])
def test_a_key_that_is_given_as_a_path_is_not_shown(given: str) -> None:
    """To give the key itself, or the URL, in place of the path is a natural mistake."""
    assert "auth_key_file is " in refusal(ValueError, auth_key_file=given, api_key=API)
    environ = {"FSLOG_AUTH_KEY_FILE": given}
    assert "FSLOG_AUTH_KEY_FILE is " in refusal(ValueError, environ, api_key=API)


def test_a_missing_key_names_both_ways() -> None:
    """The message for a missing key has the variable of its file, too."""
    text = refusal(ValueError, auth_key=AUTH)
    assert "api_key is missing" in text
    assert "FSLOG_API_KEY_FILE" in text


def test_a_disabled_handler_needs_no_files(tmp_path: Path) -> None:
    """A laptop has no mounted secrets; with `enabled: no` the same configuration loads there."""
    missing = str(tmp_path / "missing")
    handler = FreshsuccessHandler(auth_key_file=missing, api_key_file=missing, enabled=False)
    assert not handler.health().enabled
    with pytest.raises(ValueError, match="auth_key_file is"):
        FreshsuccessHandler(auth_key_file=missing, api_key_file=missing)
    with pytest.raises(TypeError, match="auth_key_file is"):
        FreshsuccessHandler(auth_key_file=3, enabled=False)  # type: ignore[arg-type]


def test_new_keys_are_used_and_old_ones_still_redacted(files: tuple[str, str]) -> None:
    """After a rotation the URL has the new keys, and no text shows any key, old or new."""
    to = make(auth_key_file=files[0], api_key_file=files[1])
    redact = to.redact
    before = to.keys_digest()
    assert not to.reread_keys()
    Path(files[0]).write_text(OTHER)
    assert to.reread_keys()
    assert to.events_url().endswith(f"/v1/{OTHER}/{API}")
    assert to.keys_digest() != before
    assert redact is to.redact
    assert redact(f"{AUTH} {API} {OTHER}") == "*** *** ***"
    Path(files[0]).unlink()
    with pytest.raises(ValueError, match="auth_key_file is"):
        to.reread_keys()
    assert to.events_url().endswith(f"/v1/{OTHER}/{API}")


def test_a_relative_path_is_that_of_the_directory_at_the_start(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that goes to another directory reads the same files again."""
    monkeypatch.chdir(os.path.dirname(files[0]))
    to = make(auth_key_file=os.path.basename(files[0]), api_key_file=files[1])
    monkeypatch.chdir("/")
    Path(files[0]).write_text(OTHER)
    assert to.reread_keys()


def test_a_key_that_was_given_itself_is_not_reread(files: tuple[str, str]) -> None:
    """Only what is from a file can change."""
    to = make(auth_key=AUTH, api_key_file=files[1])
    assert to.has_key_files()
    Path(files[1]).write_text(OTHER)
    assert to.reread_keys()
    assert to.events_url().endswith(f"/v1/{AUTH}/{OTHER}")
    literal = make(auth_key=AUTH, api_key=API)
    assert not literal.has_key_files()
    assert not literal.reread_keys()


def test_two_handlers_of_the_same_files_have_one_destination(files: tuple[str, str]) -> None:
    """Also if one of them has read the new keys already: the order between them is kept."""
    first, second = (make(auth_key_file=files[0], api_key_file=files[1]) for _ in range(2))
    Path(files[0]).write_text(OTHER)
    assert first.reread_keys()
    assert first.is_reached_as(second)
    assert not first.is_reached_as(make(auth_key=OTHER, api_key=API))
    assert make(auth_key=OTHER, api_key=API).is_reached_as(make(auth_key=OTHER, api_key=API))


def test_the_digest_of_the_files(tmp_path: Path, files: tuple[str, str]) -> None:
    """It stays over a rotation, also one that replaces the files; others' files have another."""
    to = make(auth_key_file=files[0], api_key_file=files[1])
    digest = to.files_digest()
    assert digest
    new = tmp_path / "new"
    new.write_text(OTHER)
    new.replace(files[0])
    assert make(auth_key_file=files[0], api_key_file=files[1]).files_digest() == digest
    assert make(auth_key_file=files[1], api_key_file=files[0]).files_digest() != digest
    other = tmp_path / "other"
    other.mkdir()
    (other / "auth").write_text(AUTH)
    assert make(auth_key_file=str(other / "auth"), api_key_file=files[1]).files_digest() != digest
    mixed = make(auth_key_file=files[0], api_key=API).files_digest()
    assert mixed != make(auth_key_file=files[0], api_key=OTHER).files_digest()
    assert make(auth_key=AUTH, api_key=API).files_digest() == ""


def test_known_keys_read_files_too(files: tuple[str, str]) -> None:
    """Errors of commands are redacted with what the environment and the arguments name."""
    environ = {"FSLOG_AUTH_KEY_FILE": files[0], "FSLOG_API_KEY": f"{OTHER}\n"}
    assert known_keys(environ, {"api_key_file": files[1]}) == [AUTH, OTHER, API]
    assert known_keys({"FSLOG_AUTH_KEY_FILE": "/missing/\0"}, {"api_key_file": 7}) == []


def test_no_more_than_a_key_is_read() -> None:
    """A device without an end does not hang the start."""
    with pytest.raises(ValueError, match="auth_key_file"):
        read_key_file("auth_key_file", "/dev/zero")
