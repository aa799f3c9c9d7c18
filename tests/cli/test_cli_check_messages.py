"""The messages of `fslog check`: never a key, never a traceback, always valid JSON."""

from __future__ import annotations

import configparser
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checking import SECRET, Check, write
from fslog.cli import main
from fslog.cli.check.configuration import expression_error
from fslog.cli.check.records import from_mapping
from fslog.cli.check.sources import ini_error
from fslog.cli.output import Printer
from fslog.collector import Collector
from fslog.config.files import without_quotes, yaml_error
from processes import KEYS
from spooling import leave
from spools import line

AUTH, API = KEYS
HANDLER = {"class": "fslog.FreshsuccessHandler"}
PATHS = {
    "when": {"logger": "web", "args.U": r"/^\/v1\/(?P<module>\w+)\/(?P<feature>\w+)$/"},
    "event": {"action": "feature", "module": "{module}", "feature": "{feature}"},
}

INI = """\
[loggers]
keys=root
[handlers]
keys=usage
[formatters]
keys=
[logger_root]
level=INFO
handlers=usage
[handler_usage]
class=fslog.FreshsuccessHandler
"""

pytestmark = pytest.mark.usefixtures("person")


def configured(rules: Any = (), **arguments: Any) -> str:
    """Write a configuration and return its name."""
    handler = {**HANDLER, "rules": list(rules), **arguments}
    root = {"handlers": ["usage"], "level": "INFO"}
    made = {"version": 1, "handlers": {"usage": handler}, "root": root}
    return write("logging.json", json.dumps(made))


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        (f'auth_key: "{SECRET}', "line 5, column 1", "quoted scalar, from line 4, column 15 on"),
        (f"auth_key: {SECRET}: x", "line 4, column 25", "mapping values are not allowed here"),
        (f"auth_key: *{SECRET}", "line 4, column 15", "found undefined alias '...'"),
        (f"auth_key: !{SECRET}", "line 4, column 15", "constructor for the tag '...'"),
        (f"auth_key: !{SECRET}'x y", "line 4, column 15", "'...'"),
        (f"{{auth_key: '{SECRET}' x}}", "line 4, column 29", "expected ',' or '}'"),
    ],
)
def test_invalid_yaml(text: str, place: str, what: str, check: Check) -> None:
    """An error in YAML is reported with line and column, without the line's text."""
    write("logging.yaml", f"version: 1\nhandlers:\n  usage:\n    {text}\n")
    code, out, err = check("logging.yaml")
    assert (code, out) == (1, "")
    assert err.startswith("fslog check: logging.yaml is not valid YAML: line ")
    assert place in err
    assert what in err
    assert "\\n" not in err


def test_yaml_with_invalid_characters(check: Check) -> None:
    """An error for which the parser has no line is reported with the reason."""
    write("logging.yaml", f"auth_key: {SECRET}\x07")
    assert "special characters are not allowed" in check("logging.yaml")[2]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            f"kwargs={{'proxy': 'http://u:pa%40ss@p:1', 'auth_key': '{SECRET}'}}",
            "handler_usage.kwargs: invalid % substitution",
        ),
        (f"kwargs={{\n'auth_key' '{SECRET}'}}", "line 13: expected [section] or name=value"),
        (f"kwargs={{'auth_key': {SECRET}}}", "NameError: unknown name"),
        (f"kwargs={{'auth_key': 'x'.{SECRET}}}", "AttributeError: unknown name"),
        (f"kwargs={{'auth_key': int('{SECRET}')}}", "invalid literal for int() with base 10: '..."),
    ],
)
def test_invalid_ini_files(text: str, what: str, check: Check) -> None:
    """An error in an ini file is reported with its place, without line or value."""
    code, out, err = check(write("logging.ini", f"{INI}{text}\n"))
    assert code == 1
    assert what in out + err
    assert "\\n" not in out + err


def test_a_line_before_any_section(check: Check) -> None:
    """A line before the first section is reported by its number."""
    write("logging.ini", f"kwargs={{'auth_key': '{SECRET}'}}\n{INI}")
    assert "line 1 precedes the first [section]" in check("logging.ini")[2]


def test_a_percent_sign_has_a_remedy(check: Check) -> None:
    """The message about a percent sign says how to escape it."""
    write("logging.ini", f"{INI}kwargs={{'proxy': 'http://u:{SECRET}%40@p:1'}}\n")
    assert "write %% for a percent sign" in check("logging.ini")[1]


def test_errors_of_other_versions_of_the_parsers() -> None:
    """An exception without the usual attributes is reported, too."""
    assert yaml_error(RecursionError(SECRET)) == "RecursionError"
    later = configparser.ParsingError("a.ini")
    del later.errors
    assert ini_error(later).startswith("line unknown: ")
    assert "already exists" in ini_error(configparser.DuplicateSectionError("handlers"))
    assert expression_error(KeyError("FSLOG_X")) == "KeyError: 'FSLOG_X'"


@given(st.text())
def test_what_is_quoted_is_not_shown(text: str) -> None:
    """Whatever a message quotes, as Python does, is removed."""
    shown = without_quotes(f"found {SECRET + text!r} there")
    assert SECRET not in shown
    assert shown.startswith("found '...'")


def test_what_a_module_raises_shows_no_key(check: Check) -> None:
    """The keys and the endpoint's URL are redacted in the message of an exception."""
    write("p.py", f'raise RuntimeError("https://e/v1/{SECRET}/zzzz {AUTH}")')
    code, _, err = check("p.py")
    assert code == 1
    assert err == "fslog check: running p.py failed: RuntimeError: https://e/v1/***/*** ***\n"


def test_keys_of_a_handler_that_cannot_be_created(check: Check) -> None:
    """Where the keys are is reported, never what they are, although the handler has an error."""
    configured(flush_intervall=3, auth_key=SECRET, api_key=SECRET)
    code, out, _ = check("logging.json", "--record", f"name=app,msg={SECRET}")
    assert code == 1
    assert out.count("in the configuration\n") == 2
    assert "in FSLOG_" not in out
    code, out, _ = check("logging.json", "--json")
    assert json.loads(out)["handlers"][0]["keys"] == dict.fromkeys(
        ("auth_key", "api_key"), "configuration"
    )


def test_a_handler_whose_name_is_a_number(check: Check) -> None:
    """dictConfig cannot find such a handler; that is reported, without a traceback."""
    write("a.yaml", "version: 1\nhandlers: {5: {class: fslog.FreshsuccessHandler, auth_key: k}}\n")
    assert check("a.yaml")[0] == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_paths_of_the_application(as_json: bool, check: Check) -> None:
    """Paths like the endpoint's are shown in records, rules and events; keys are not."""
    configured([PATHS])
    record = ["--record", f"name=web,args.U=/v1/users/list,note={AUTH}"]
    other = ["--record", "name=web,args.U=/v1/users/list/5,msg=/v1/a/b"]
    code, out, _ = check("logging.json", *record, *other, *(["--json"] if as_json else []))
    assert code in (0, 1)
    assert "/v1/users/list" in out
    assert "/v1/a/b" in out
    if as_json:
        found = json.loads(out)["records"]
        assert found[1]["mismatches"][0]["found"] == "/v1/users/list/5"
        assert found[1]["message"] == "/v1/a/b"


@pytest.mark.parametrize("message", ["/v1/users/5", "http://e/v1/a/b", f"{API}", '"', "\x1b[31m"])
def test_json_whatever_is_redacted(message: str, check: Check) -> None:
    """The JSON of `check` is valid, whatever is redacted in it."""
    configured()
    code, out, _ = check("logging.json", "--json", "--record", f"name=web,msg={message}")
    assert code == 0
    assert json.loads(out)["records"][0]["message"] == message.replace(API, "***")
    assert "\x1b" not in out


def test_json_with_a_path_in_a_label(check: Check) -> None:
    """A path like the endpoint's in the file's name leaves the JSON valid."""
    Path("v1/a").mkdir(parents=True)
    path = Path(configured()).resolve().rename(Path("v1/a/b.json").resolve())
    assert json.loads(check(str(path), "--json")[1])["ok"] is True


def test_json_with_a_key_like_a_number(monkeypatch: pytest.MonkeyPatch, check: Check) -> None:
    """A key that looks like a number removes no number from the JSON of `check`."""
    monkeypatch.setenv("FSLOG_API_KEY", "12345678")
    configured([PATHS])
    record = "name=web,msg=12345678,args=[1]"
    found = json.loads(check("logging.json", "--json", "--record", record)[1])
    assert found["handlers"][0]["rules"] == 1
    assert found["summary"]["lines"] == 1
    assert found["records"][0]["message"] == "***"


def test_json_of_ping(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A key is redacted in texts, and removes no number from the JSON of `ping`."""
    monkeypatch.setenv("FSLOG_API_KEY", "127.0.0.1")
    with Collector() as collector:
        main(["ping", "--endpoint", collector.url, "--json"])
        collector_port = int(collector.url.rpartition(":")[2])
    report = json.loads(capsys.readouterr().out)
    assert report["reachable"] is True
    assert report["address"] == "***"
    assert report["port"] == collector_port


def test_json_of_a_summary() -> None:
    """A key that looks like a number removes no number from a summary."""
    out = io.StringIO()
    paper = Printer(out, lambda text: text.replace("1", "***"))
    paper.values({"delivered": 1, "last_error": "status 1", "left": [1, "1"], "1": None})
    assert json.loads(out.getvalue()) == {
        "delivered": 1,
        "last_error": "status ***",
        "left": [1, "***"],
        "***": None,
    }


def test_json_of_a_drained_spool(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A key that looks like a number removes no number from the JSON of `spool drain`."""
    # A spool's path may hold no key, and pytest numbers its directories.
    number = next(n for n in range(2, 99) if str(n) not in re.findall(r"\w+", str(tmp_path)))
    leave(tmp_path / "spool", b"".join(map(line, range(number))))
    monkeypatch.setenv("FSLOG_API_KEY", str(number))
    with Collector() as collector:
        to = ["--endpoint", collector.url, "--take-over", "--json"]
        assert main(["spool", "drain", str(tmp_path / "spool"), *to]) == 0
    assert json.loads(capfd.readouterr().out)["delivered"] == number


@pytest.mark.parametrize(
    "record",
    [
        "name=5,msg=x",
        '{"name": [1], "message": "x"}',
        '{"levelname": "INFO", "levelno": "x", "message": "x"}',
        '{"levelname": ["INFO"], "levelno": null, "message": "x", "created": {}}',
        f'{{"created": {"9" * 400}, "message": "x"}}',
        '{"created": 1e299, "timestamp": NaN, "message": "x", "levelno": -5}',
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_records_with_values_of_other_types(record: str, as_json: bool, check: Check) -> None:
    """A name or a level of another type raises nothing, on the command line or in a log."""
    configured([PATHS])
    way = ["--json"] if as_json else []
    assert check("logging.json", "--record", record, *way)[0] == 0
    if record.startswith("{"):
        write("app.log", f"{record}\n" * 2)
        assert check("logging.json", "--log", "app.log", *way)[0] == 0


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)


@given(st.dictionaries(st.sampled_from(["name", "levelno", "levelname", "created"]), VALUES))
def test_the_types_of_a_records_attributes(values: dict[str, Any]) -> None:
    """Name, level and time of a record have the types that they have in logging."""
    record = from_mapping(values)
    assert isinstance(record.name, str)
    assert isinstance(record.levelno, int)
    assert isinstance(record.created, float)


@pytest.mark.parametrize("name", ["nosuch", "nope.module:X", "json.nosuch", "json.decoder.no:X"])
def test_a_module_that_does_not_exist(name: str, check: Check) -> None:
    """A missing module or package is an invalid argument."""
    code, _, err = check(name)
    assert code == 2
    assert "failed: No module named" in err


def test_a_module_whose_import_is_missing(check: Check) -> None:
    """An import that is missing inside the module is an error of the module."""
    write("mine.py", "import nosuch\nLOGGING = {}")
    code, _, err = check("mine")
    assert code == 1
    assert "importing mine failed: ModuleNotFoundError: No module named 'nosuch'" in err


def test_a_key_for_an_ini_file(check: Check) -> None:
    """`--key` is refused for an ini file."""
    code, _, err = check(write("logging.ini", INI), "--key", "a.b")
    assert code == 2
    assert "--key: an ini file has no keys to search below" in err
    assert check("logging.ini")[0] == 0


def test_an_empty_log(check: Check) -> None:
    """An empty log gives a count of 0 records."""
    configured()
    write("empty.log", "")
    code, out, _ = check("logging.json", "--log", "empty.log")
    assert code == 0
    assert out.endswith("\n\n0 records\n\nOK, 1 warning\n")
