"""What `fslog record` keeps: copies of records without secrets, in a bounded, private file."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import logging
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fslog import process
from fslog.cli.options import CommandError
from fslog.cli.record import create
from fslog.integrations import recording
from fslog.integrations.descriptions import describe
from fslog.integrations.recording import META, Recorder, is_library, kept_in, levels, record_into
from fslog.net.redaction import Redactor
from processes import KEYS

PLACE = ("shop.reports", logging.INFO, "/app/reports.py", 7)


def made(message: Any = "exported %s rows", *args: Any, **extras: Any) -> logging.LogRecord:
    """Return a record of the log call."""
    record = logging.LogRecord(*PLACE, message, (), None, "export")
    record.args = args[0] if args and type(args[0]) is dict and "%s" not in str(message) else args
    record.__dict__.update(extras)
    return record


def kept(message: Any = "said", *args: Any, **extras: Any) -> dict[str, Any]:
    """Return what is kept of a record, as JSON gives it."""
    return json.loads(json.dumps(describe(made(message, *args, **extras), Redactor(*KEYS))[0]))


class Colour(enum.Enum):
    RED = "red"


class Slotted:
    __slots__ = ("empty", "id")

    def __init__(self) -> None:
        self.id = 3


@dataclasses.dataclass
class Owner:
    id: Any
    api_token: str = "t0ken"
    account: Any = None


class Hostile:
    """What a record may refer to: everything that is called raises."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} was read")

    __str__ = __repr__ = __hash__ = __bool__ = __iter__ = __len__ = property(  # type: ignore
        lambda self: pytest.fail("was called")
    )


class Lazy:
    """As django.utils.functional.SimpleLazyObject keeps what it stands for."""

    def __init__(self, wrapped: Any) -> None:
        self.__dict__.update(_wrapped=wrapped, _setupfunc=None)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise AssertionError("the lazy object was evaluated")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, True),
        (2.5, 2.5),
        (float("nan"), "<float>"),
        (10**30, "<int>"),
        (Colour.RED, "red"),
        (decimal.Decimal("1.5"), "1.5"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (b"bytes", "<bytes>"),
        (Slotted(), {"id": 3}),
        (
            Owner(5, account=Owner(6, account=Owner(7))),
            {
                "id": 5,
                "api_token": "***",
                "account": {"id": 6, "api_token": "***", "account": None},
            },
        ),
        ((1, [2, [3]]), [1, [2, "<list>"]]),
        ({1: "a", None: "b"}, {"1": "a"}),
        ("x" * 500, "x" * 200 + "..."),
        (Lazy(object()), "<test_recording.Lazy>"),
        (Lazy(Slotted()), {"id": 3}),
        (Hostile(), "<test_recording.Hostile>"),
        (list(range(50)), list(range(20))),
    ],
    ids=lambda one: type(one).__name__,
)
def test_values(value: Any, shown: Any) -> None:
    """Values are two levels deep, and read without calling the application's code."""
    if isinstance(shown, dict) and "account" in shown:
        shown["account"]["account"] = "<test_recording.Owner>"
    assert kept(value=value)["value"] == shown
    assert kept("%s", value)["args"] == [shown]


def test_types() -> None:
    """Types that JSON has not are named by their paths."""
    _, types = describe(made("%s", Owner(uuid.UUID(int=7)), at=datetime.date.today()), str)
    assert types == {
        "args.0": "test_recording.Owner",
        "args.0.id": "uuid.UUID",
        "at": "datetime.date",
    }


KEY = "4eC39HqLyjWDarjtT1zdp7dc"

SECRETS = {
    "password": "hunter2",
    "X-Api-Key": 12345,
    "Set-Cookie": {"a": "hunter2"},
    "{authorization}i": "hunter2",
    "args_query": f"/a?{KEY}",
    "url": "https://ann:hunter2@host/a?b=hunter2",
    "text": "password: 'hunter2', token=hunter2 Authorization: Bearer hunter2",
    "json": '{"api_key": "hunter2"}',
    "value": f"it is {KEY}",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9",
    "fslog": f"{KEYS[0]} {KEYS[1]}",
    f"named {KEYS[0]}": 1,
}


@pytest.mark.parametrize(("name", "value"), SECRETS.items(), ids=SECRETS)
def test_secrets(name: str, value: Any) -> None:
    """They are kept neither of an extra nor of arguments, and other words stay."""
    records = [kept(**{name: value, "user": "ann"}), kept("mapped", {name: value, "user": "ann"})]
    if isinstance(value, str):
        records.append(kept("my password is %s", value))
        records += [] if value == "hunter2" else [kept(f"user ann {value}")]
    for record in records:
        text = json.dumps(record)
        assert not [one for one in ("hunter2", "12345", KEY, "dozjgN", *KEYS) if one in text]
    assert kept(**{name: value, "user": "ann"})["user"] == "ann"


def test_the_environment_is_no_part_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the process, which Python's own servers add to a request, are left out."""
    monkeypatch.setenv("DATABASE", "host")
    assert kept(environ={"DATABASE": "host", "PATH_INFO": "/a"})["environ"] == {"PATH_INFO": "/a"}


def test_ids_are_no_secrets() -> None:
    """What names a user, an account or a page stays, or no rule could be written."""
    values = {"user_id": str(uuid.uuid4()), "{x-user}i": "ann@acme.example", "author": "bob"}
    values |= {"path": "/teams/42/quarterly-report-2024/export", "session_id": "s-17"}
    record = kept(**values)
    assert {name: record[name] for name in values} == values


def test_a_large_record() -> None:
    """What is kept of one record has a limit, whatever it refers to."""
    record = kept(**{f"extra{number}": ["x" * 100] * 20 for number in range(200)})
    assert len(json.dumps(record)) < 40_000


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return an empty recording."""
    name = str(tmp_path / "records.ndjson")
    create(name)
    return name


@pytest.fixture
def recorder(path: str) -> Iterator[Recorder]:
    """Return a handler that writes into it."""
    handler = Recorder(path, Redactor(*KEYS))
    yield handler
    process.untrack(handler)


def lines(path: str) -> list[dict[str, Any]]:
    """Return the lines of a recording, without the first."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()][1:]


def counts(path: str) -> dict[str, int]:
    """Return how often each kind was logged, as far as the file says."""
    names = {line[META]["id"]: line[META]["kind"] for line in lines(path) if "kind" in line[META]}
    found: dict[str, int] = {}
    for line in lines(path):
        if "count" in line[META]:
            name = names[line[META]["id"]]
            found[name] = found.get(name, 0) + line[META]["count"]
    return found


def test_samples_and_counts(path: str, recorder: Recorder) -> None:
    """Three records of each message are kept, all are counted; another handler continues."""
    for number in range(1000):
        recorder.handle(made("exported %s rows", number))
    recorder.handle(made("imported"))
    recorder.flush()
    recorder.close()
    again = Recorder(path, Redactor())
    again.handle(made("exported %s rows", 1000))
    again.finish(again.begin_finish())
    process.untrack(again)
    assert counts(path) == {"exported %s rows": 1001, "imported": 1}
    assert sorted(kept_in(path).values()) == [1, 3]
    assert [line["args"] for line in lines(path) if "args" in line] == [[0], [1], [2]]


def test_kinds(path: str, recorder: Recorder) -> None:
    """An access line is of one kind per method, path without ids, and status; a task by its name.

    Messages that differ each time are too many to tell apart, as are paths, and calls have a limit.
    """
    for number in range(100):
        recorder.handle(made(f"exported {number} rows"))
        recorder.handle(made({"event": "moved", "number": number}))
        recorder.handle(made(json.dumps({"event": "rendered", "number": number})))
        access = made('%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "POST", f"/a/{number}", "1.1", 201)
        access.name = "uvicorn.access"
        recorder.handle(access)
    for task in (made("Task shop.export[%s] succeeded in 0.5s: None", "id"), made("other")):
        task.name = "celery.app.trace"
        recorder.handle(task)
    for number in range(2000):
        call = made("one of many")
        call.lineno = 1000 + number
        recorder.handle(call)
    recorder.flush()
    found = counts(path)
    assert found["moved"] == found["rendered"] == 100
    assert found["POST /a/* 2xx"] == 100
    assert found["shop.export succeeded"] == 1
    assert found["exported 0 rows"] == 1
    assert sum(line[META].get("count", 0) for line in lines(path)) < 100 * 4 + 2 + 1000


def test_a_full_file(path: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has a limit, and says that it is reached."""
    monkeypatch.setattr(recording, "MAX_BYTES", 2_000)
    for number in range(100):
        recorder.handle(made(f"said {number}"))
    recorder.flush()
    assert os.path.getsize(path) < 2_100
    assert lines(path)[-1] == {META: {"full": True}}


def test_a_file_that_is_gone(
    path: str, recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    """The application goes on, and one line on stderr says that nothing is kept any more."""
    os.unlink(path)
    recorder.handle(made())
    recorder.handle(made())
    recorder.flush()
    expected = f"fslog: {path}: No such file or directory; no more records are kept\n"
    assert capsys.readouterr().err == expected
    assert not os.path.exists(path)


def test_a_record_that_is_none(path: str, recorder: Recorder) -> None:
    """What is no record of logging's own making is not kept, and raises nothing."""
    recorder.handle(made("odd", pathname=None))
    recorder.handle(made("{odd", pathname=None))
    record = made("odd")
    del record.__dict__["levelname"]
    recorder.handle(record)
    assert lines(path) == []


def test_a_long_line(path: str, recorder: Recorder) -> None:
    """A record with more than a line may have is kept without its extras."""
    recorder.handle(made("said", **{"n" * 90 + str(number): None for number in range(50)}))
    recorder.handle(made("long", **{"ü" * 1_000 + str(number): None for number in range(99)}))
    (first, second) = lines(path)
    assert len(first) > 50
    assert "args" not in second
    assert second["msg"] == "long"


def test_in_a_child(path: str, recorder: Recorder) -> None:
    """A forked child counts for itself, and keeps no more records than there are to be."""
    for _ in range(5):
        recorder.handle(made("said"))
    recorder._pid = 0  # as it is in a child
    recorder.handle(made("said"))
    recorder.flush()
    assert counts(path) == {"said": 1}
    assert recorder.may_wait()
    recorder.end_thread()
    recorder.close_inherited()


def test_libraries() -> None:
    """Installed packages and Python's own modules are told from the application."""
    assert is_library(pytest.__file__)
    assert is_library(logging.__file__)
    assert not is_library(__file__)


def test_the_file(tmp_path: Path) -> None:
    """It is private, continued if it is a recording, and never another file."""
    path = tmp_path / "records.ndjson"
    for mode in (0o600, 0o644):
        create(str(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes() == recording.HEADER
        path.chmod(mode)
    other = tmp_path / "other.json"
    other.write_text("{}")
    (tmp_path / "link").symlink_to(other)
    for name, reason in {
        "other.json": "exists and is not a recording; choose another --output",
        "link": "cannot be written: ",
        "no/such": "cannot be written: No such file or directory",
    }.items():
        with pytest.raises(CommandError, match=reason):
            create(str(tmp_path / name))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CommandError, match="is not a regular file"):
        create(str(tmp_path / "fifo"))
    assert other.read_text() == "{}"


def test_levels(tmp_path: Path) -> None:
    """Those of a file hold, which need not have a handler of fslog's; INFO without one."""
    file = tmp_path / "usage.json"
    file.write_text('{"version": 1, "loggers": {"shop": {"level": "DEBUG"}}}')
    assert levels(str(file)).logger("shop.reports").level == logging.DEBUG
    assert levels(None).logger("shop") == (("record",), logging.INFO, "root")
    assert callable(record_into)
