"""`fslog check`: every kind of configuration, its diagnostics, and no effects."""

from __future__ import annotations

import json
import logging
import logging.config
import logging.handlers
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checking import Check, write
from configurations import PLAIN, RULE, USAGE, changed
from fslog import FreshsuccessHandler
from fslog.cli.check.configuration import makes, parse
from fslog.cli.check.dry_run import dry_run, event_handlers
from fslog.cli.check.lint import lint
from fslog.cli.check.routing import Routing
from fslog.collector import Collector
from processes import KEYS, STRICT, run
from readme_blocks import ROOT
from spooling import directory, leave, snapshot
from spools import line
from uploads import at_work, interrupted

pytestmark = pytest.mark.usefixtures("person")


@pytest.fixture(autouse=True)
def _without_celery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide Celery, which other modules of tests import: a worker changes what arrives."""
    monkeypatch.delitem(sys.modules, "celery", raising=False)


def usage(**arguments: Any) -> dict[str, Any]:
    """Return the plain configuration with more arguments for the handler."""
    return changed(handlers={"usage": {**USAGE, **arguments}})


def as_file(given: Any, name: str = "logging.json") -> str:
    """Write a JSON file and return its name."""
    return write(name, json.dumps(given))


def diagnostics(check: Check, given: Any, kind: str) -> list[tuple[str, str]]:
    """Return the place and the message of each error, or warning; the exit code agrees."""
    code, out, _ = check(as_file(given), "--json")
    report = json.loads(out)
    assert report["ok"] == (code == 0)
    assert code == any(one["kind"] == "error" for one in report["diagnostics"])
    return [(one["where"], one["message"]) for one in report["diagnostics"] if one["kind"] == kind]


def errors(check: Check, given: Any) -> list[tuple[str, str]]:
    """Return the errors."""
    return diagnostics(check, given, "error")


def warnings(check: Check, given: Any) -> list[tuple[str, str]]:
    """Return the warnings about a configuration without errors."""
    assert errors(check, given) == []
    return diagnostics(check, given, "warning")


INI = """\
    [loggers]
    keys=root,reports

    [handlers]
    keys=file,usage

    [formatters]
    keys=plain

    [logger_root]
    level=INFO
    handlers=usage,file

    [logger_reports]
    qualname=app.reports
    handlers=

    [handler_file]
    class=FileHandler
    args=("made.log",)
    formatter=plain

    [handler_usage]
    class=fslog.FreshsuccessHandler
    level=INFO
    args=()
    kwargs={'rules': [{'when': {'logger': 'app.reports', 'message': 'exported %%s rows'},
      'event': {'action': 'feature', 'module': 'reports', 'feature': 'export'}}]}

    [formatter_plain]
    format=%(message)s
    """

YAML = """\
    app:
      logging:
        version: 1
        disable_existing_loggers: false
        handlers:
          usage:
            class: fslog.FreshsuccessHandler
            rules:
              - when: {logger: app.reports, message: "exported %s rows"}
                event: {action: feature, module: reports, feature: export}
        root: {handlers: [usage], level: INFO}
    """

TOML = """\
    [tool.app]
    name = "app"
    [tool.app.logging]
    version = 1
    disable_existing_loggers = false
    [tool.app.logging.root]
    handlers = ["usage"]
    level = "INFO"
    [tool.app.logging.handlers.usage]
    class = "fslog.FreshsuccessHandler"
    [[tool.app.logging.handlers.usage.rules]]
    when = {logger = "app.reports", message = "exported %s rows"}
    event = {action = "feature", module = "reports", feature = "export"}
    """

RECORD = 'name=app.reports,msg="exported %s rows",args=[3],accountId=acme,userId=ann'


def configured(kind: str) -> str:
    """Write a configuration of a kind and return its argument."""
    if kind == "json":
        return as_file(PLAIN)
    if kind == "yaml":
        return write("config.yaml", YAML)
    if kind == "toml":
        return write("pyproject.toml", TOML)
    if kind == "ini":
        return write("logging.ini", INI)
    if kind == "module":
        write("pack/__init__.py", "")
        write("pack/logs.py", f"class settings:\n    LOGGING = {PLAIN!r}\nOTHER = 1\n")
        return "pack.logs:settings.LOGGING"
    if kind == "settings":
        return write("mysite.py", f"DEBUG = True\nLOGGING = {PLAIN!r}\n").removesuffix(".py")
    if kind == "file":
        return write("my.conf.py", f"log_config = {PLAIN!r}\n")
    write("my.conf.py", f"made = {{'logging': {PLAIN!r}}}\n")
    return "my.conf.py:made"


KINDS = ["json", "yaml", "ini", "module", "settings", "file", "name in a file"]
if sys.version_info >= (3, 11):
    KINDS.append("toml")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_configuration(kind: str, check: Check) -> None:
    """Every kind of source is found, is OK, and gives its event."""
    text = configured(kind)
    code, out, err = check(text, "--record", RECORD)
    assert (code, err) == (0, "")
    # fileConfig disables existing loggers unless its caller says otherwise.
    assert out.endswith("\n\nOK, 1 warning\n" if kind == "ini" else "\n\nOK\n")
    assert "event, by rules[0]\n" in out
    assert not Path("made.log").exists()


def test_toml_on_an_old_python(monkeypatch: pytest.MonkeyPatch, check: Check) -> None:
    """Without tomllib, the message names the Python version that is needed."""
    monkeypatch.setitem(sys.modules, "tomllib", None)
    code, out, err = check(write("pyproject.toml", TOML))
    assert (code, out) == (2, "")
    assert "TOML needs Python 3.11 or newer" in err


def test_yaml_without_pyyaml(monkeypatch: pytest.MonkeyPatch, check: Check) -> None:
    """Without PyYAML, the message says what to install."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    code, out, err = check(write("config.yml", YAML))
    assert (code, out) == (2, "")
    assert "YAML needs PyYAML: pip install PyYAML" in err


APPS = "tests/fixtures/apps"


@pytest.mark.parametrize(
    ("config", "record"),
    [
        ("examples/demo.json", 'name=tracker.reports,msg="exported %d rows as %s",args=[3,"csv"]'),
        ("examples/django_app/settings.py",
         'name=django.server,args=["POST /wiki/edit HTTP/1.1","204","0"]'),
        ("examples/gunicorn_app/gunicorn.conf.py",
         'name=gunicorn.access,args.m=POST,args.U=/board/sort,args.s=200,args.{x-user}i=ann,'
         'args.{x-account}i=acme'),
        ("examples/hypercorn_app/hypercorn_conf.py:logconfig_dict",
         "name=hypercorn.access,args.m=POST,args.U=/wiki/edit,args.s=200"),
        (f"{APPS}/starlette_app/logging.json",
         'name=uvicorn.access,args=["-","POST","/board/sort?a=1","1.1",200]'),
        (f"{APPS}/gunicorn_app/gunicorn.conf.py:logconfig_dict",
         "name=gunicorn.access,args.m=POST,args.U=/board/sort,args.s=200,args.u=ann"),
        (f"{APPS}/django_app/settings.py", 'name=tracker,msg="exported %d rows",args=[3]'),
        (f"{APPS}/django_app/settings.py:LOGGING",
         'name=django.server,args=["POST /wiki/edit HTTP/1.1","204","0"]'),
    ],
)  # fmt: skip
def test_the_examples(config: str, record: str, check: Check) -> None:
    """The configurations of the examples, and of applications, are OK and make their events."""
    context = "accountId=acme,userId=ann"
    path = ROOT / config
    code, out, err = check(path, "--record", record, "--context", context, "--json")
    report = json.loads(out)
    assert (code, err, report["diagnostics"]) == (0, "", [])
    (explained,) = report["records"]
    assert (explained["result"], explained["event"]["accountId"]) == ("event", "acme")


def test_another_projects_fslog_is_reported(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The distribution `fslog`, which writes into the same folder, is a warning."""
    path = as_file(usage())
    assert "installation" not in check(path)[1]
    found = tmp_path / "site" / "fslog-0.1.3.dist-info" / "METADATA"
    found.parent.mkdir(parents=True)
    found.write_text("Metadata-Version: 2.1\nName: fslog\nVersion: 0.1.3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "site")
    code, out, _ = check(path)
    assert code == 0
    assert "warning     installation: the distribution fslog, another project" in out


def test_a_check_has_no_effects(check: Check) -> None:
    """A check starts no thread, sends nothing, and creates no file, directory or handler."""
    with Collector() as collector:
        os.environ["FSLOG_ENDPOINT"] = collector.url
        given = usage(spool="spool", flush_interval=0)
        given["handlers"]["file"] = {"class": "logging.FileHandler", "filename": "made.log"}
        given["root"]["handlers"] = ["usage", "file"]
        path = as_file(given)
        before, threads = snapshot(Path.cwd()), threading.active_count()
        handlers = list(logging.root.handlers)
        code, out, err = check(path, "--record", RECORD)
        assert (code, err) == (0, "")
        assert f"spool     {Path.cwd() / 'spool'}, not created yet" in out
        assert (snapshot(Path.cwd()), threading.active_count()) == (before, threads)
        assert logging.root.handlers == handlers
        assert collector.requests == []
        del os.environ["FSLOG_ENDPOINT"]


def test_a_spool_with_events_is_not_changed(check: Check) -> None:
    """The events of a dead process are reported, and the spool is neither adopted nor changed."""
    leave(Path("spool").absolute(), line(1))
    given = usage(spool="spool")
    path = as_file(given)
    before = snapshot(Path("spool"))
    code, out, _ = check(path)
    assert code == 0
    assert "spool, 1 event waiting" in out
    assert snapshot(Path("spool")) == before


def test_a_module_that_configures_logging_itself(check: Check) -> None:
    """A module that configures logging when it is imported has no effect; it prints to stderr."""
    write(
        "app.py",
        f"""
        import logging.config
        from fslog import FreshsuccessHandler

        print("hello from the module")
        LOGGING = {{**{PLAIN!r}, "handlers": {{"usage": {{"class": "fslog.FreshsuccessHandler",
                    "spool": "spool"}}, "file": {{"class": "logging.FileHandler",
                    "filename": "made.log"}}}}}}
        logging.config.dictConfig(LOGGING)
        logging.getLogger("app").addHandler(FreshsuccessHandler(spool="other"))
        """,
    )
    handlers = list(logging.root.handlers)
    code, out, err = check("app", "--json")
    assert code == 0
    assert json.loads(out)["handlers"][0]["handler"] == "usage"
    assert err == "hello from the module\n"
    assert {path.name for path in Path.cwd().iterdir()} <= {"app.py", "__pycache__"}
    assert logging.root.handlers == handlers
    (handler,) = logging.getLogger("app").handlers
    logging.getLogger("app").removeHandler(handler)


def test_a_dry_run_restores_what_it_replaces(check: Check) -> None:
    """After a dry run, also after one that failed, handlers and dictConfig are the originals."""
    init, configure = FreshsuccessHandler.__init__, logging.config.dictConfig
    with pytest.raises(KeyError), dry_run():
        raise KeyError
    check("nothing.json")
    assert FreshsuccessHandler.__init__ is init
    assert logging.config.dictConfig is configure


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("missing.json", "no such file: missing.json"),
        ("missing/logging.yaml", "no such file"),
        ("missing.py:LOGGING", "no such file"),
        ("what is that?", "is neither a file nor a name such as package.module:LOGGING"),
        ("odd.txt", "has an unknown extension; expected .json, .yaml"),
        ("right:NOTHING", "the module has no NOTHING"),
        ("right:LOGGING.nothing.more", "LOGGING has no nothing"),
        ("empty", "has no mapping named LOGGING"),
        ("empty.py", "has no mapping named LOGGING"),
    ],
)
def test_sources_that_do_not_exist(config: str, reason: str, check: Check) -> None:
    """A source that does not exist is an invalid argument; the message says what is expected."""
    write("right.py", f"LOGGING = {PLAIN!r}")
    write("empty.py", "")
    write("odd.txt", "{}")
    code, out, err = check(config)
    assert (code, out) == (2, "")
    assert err.startswith("fslog check: error: ")
    assert reason in err


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", "{", "is not valid JSON"),
        ("a.json", "[]", "contains a list; expected a mapping"),
        ("a.json", "[" * 100_000, "is not valid JSON"),
        ("a.json", "{}", "no logging configuration found"),
        ("a.json", '{"version": 3, "services": {"a": {}}}', "no logging configuration found"),
        ("a.yaml", "a: [", "is not valid YAML"),
        ("a.yaml", "", "contains a NoneType"),
        ("a.ini", "x", "is not a valid ini file"),
        ("a.cfg", "[metadata]\n", "has no section [formatters], which fileConfig requires"),
        ("a.py", "1/0", "running a.py failed: ZeroDivisionError"),
        ("a.py", "raise SystemExit(3)", "running a.py failed: SystemExit: 3"),
    ],
)
def test_configurations_that_cannot_be_read(
    name: str, text: str, reason: str, check: Check
) -> None:
    """A source that exists and cannot be read gives 1, and the reason."""
    code, out, err = check(write(name, text))
    assert (code, out) == (1, "")
    assert err.startswith("fslog check: ")
    assert reason in err


def test_text_that_is_not_utf8(check: Check) -> None:
    """A file in another encoding is reported; a byte order mark is accepted."""
    Path("a.json").write_bytes(b'{"\xff": 1}')
    assert check("a.json")[::2] == (1, "fslog check: a.json is not UTF-8\n")
    Path("a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(PLAIN).encode())
    assert check("a.json")[0] == 0


def test_a_module_that_cannot_be_imported(check: Check) -> None:
    """The exception of an import is reported with its type, without control characters."""
    write("broken.py", "raise RuntimeError('no \\x1b[31m database')")
    code, out, err = check("broken")
    assert (code, out) == (1, "")
    assert err == ("fslog check: importing broken failed: RuntimeError: no \\x1b[31m database\n")
    assert "No module named 'not_there'" in check("not_there:LOGGING")[2]


def test_the_key_of_a_configuration(check: Check) -> None:
    """A configuration below a key is found; of several, --key chooses one."""
    nested = {"a": {"b": PLAIN}, "c": changed(handlers={})}
    path = as_file(nested)
    code, _, err = check(path)
    assert code == 1
    assert "found several configurations (a.b, c): choose one with --key" in err
    code, out, _ = check(path, "--key", "a.b")
    assert (code, out.splitlines()[0]) == (0, f"{path}, at a.b (dictConfig)")
    for key, reason in (("a.x", "a has no key 'x'"), ("x", "the top level has no key 'x'")):
        code, _, err = check(path, "--key", key)
        assert code == 2
        assert reason in err
    # The version of something else at the top is no configuration's.
    assert check(as_file({"version": "3", "app": {"logging": PLAIN}}))[0] == 0


def test_what_a_person_reads(check: Check) -> None:
    """The text names the handler, its endpoint, keys, spool and events, and the loggers."""
    given = usage(
        fields={"accountId": "tenant"},
        defaults={"product": "core"},
        nested=["event", "extra"],
        datacenter="eu",
        spool=str(Path("spool").absolute()),
        proxy="http://ann:secret@127.0.0.1:3128",
    )
    given["loggers"] = {"quiet": {"propagate": False, "level": "DEBUG"}}
    code, out, err = check(as_file(given))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "logging.json (dictConfig)",
        "",
        "handler usage  fslog.FreshsuccessHandler",
        "  posts to  https://events-eu.freshsuccess.com/v1/***/*** via the proxy 127.0.0.1:3128",
        "  auth_key  in FSLOG_AUTH_KEY",
        "  api_key   in FSLOG_API_KEY",
        f"  spool     {Path('spool').absolute()}, not created yet",
        "  events    from log calls and 1 rule; fields accountId; defaults product; "
        "nested event, extra",
        "  from      the root logger, INFO and above",
        "  not from  quiet: the logger quiet does not propagate",
        "",
        "OK",
    ]


def test_options_that_change_the_events_are_named(check: Check) -> None:
    """Those that are on; `track_time: "no"` is off, on the page of what leaves, too."""
    given = usage(track_time="yes", aggregate=10, max_per_second=2.5)
    out = check(as_file(given))[1]
    assert "  options   aggregate: 10, max_per_second: 2.5, track_time: True\n" in out
    given = usage(track_time="no")
    assert "options" not in check(as_file(given))[1]
    assert "time in product" not in check(as_file(given), "--leaves")[1]


@pytest.mark.parametrize(
    ("given", "record", "verdict"),
    [
        (usage(), "", "OK"),
        (usage(level="WARNING"), "", "OK, 1 warning"),
        (usage(level="WARNING") | {"disable_existing_loggers": True}, "", "OK, 2 warnings"),
        (usage(batch_events=0), "", "1 error"),
        (usage(batch_events=0) | {"loggers": {"a": {"handlers": ["b"]}}}, "", "2 errors"),
        (usage(batch_events=0) | {"disable_existing_loggers": True}, "", "1 error, 1 warning"),
        (usage(batch_events=0), RECORD, "1 error"),
        (usage(), RECORD, "OK"),
        (usage(), "name=app,action=feature", "1 invalid event"),
        (usage(level="WARNING"), "name=app,action=x", "OK, 1 warning"),
    ],
)
def test_the_last_line(given: Any, record: str, verdict: str, check: Check) -> None:
    """It counts errors, invalid events and warnings; "OK" goes with the exit code 0 only."""
    code, out, _ = check(as_file(given), *(["--record", record] if record else []))
    assert out.splitlines()[-2:] == ["", verdict]
    assert (code == 0) is verdict.startswith("OK")


def test_the_counts_of_a_program(check: Check) -> None:
    """The JSON object has the numbers of diagnostics, whether records are given or not."""
    given = usage(level="WARNING", batch_events=0) | {"disable_existing_loggers": True}
    for arguments in ([], ["--record", RECORD]):
        report = json.loads(check(as_file(given), "--json", *arguments)[1])
        kinds = [one["kind"] for one in report["diagnostics"]]
        assert (report["errors"], report["warnings"]) == (1, kinds.count("warning"))
        assert report["warnings"] > 0


def reading(**properties: str) -> dict[str, Any]:
    """Return a configuration whose rule has such placeholders."""
    when = {"logger": "app", "message": "/(?P<feature>sold)/"}
    return usage(rules=[{"when": when, "event": {"action": "x", **properties}}])


def test_a_misspelt_placeholder(check: Check) -> None:
    """One that is nearly a group or an attribute of every record is a warning, with the rule."""
    given = reading(a="{mesage}", b="{faeture}", c="{rows}", d="{arg.0}", e="{message}")
    said = "is no named group and no attribute of every record; did you mean"
    assert warnings(check, given) == [
        ("handlers.usage.rules[0]", f"{{arg.0}} {said} {{args.0}}?"),
        ("handlers.usage.rules[0]", f"{{faeture}} {said} {{feature}}?"),
        ("handlers.usage.rules[0]", f"{{mesage}} {said} {{message}}?"),
    ]


def test_a_placeholder_that_is_named_elsewhere_is_not_misspelt(check: Check) -> None:
    """What `when`, `fields` or `include` names is an extra, however similar it is."""
    event = {"action": "x", "a": "{messages}", "b": "{arg.0}", "c": "{names}"}
    given = usage(
        rules=[{"when": {"messages": "/x/"}, "event": event}],
        fields={"userId": "arg.user"},
        include=["names"],
    )
    assert warnings(check, given) == []


def test_a_misspelt_action(check: Check) -> None:
    """A rule's action that is nearly a known one is a warning before any record has it."""
    actions = ("Feature", "feature", "login", "{args.0}")
    rules = [{"when": {"logger": action}, "event": {"action": action}} for action in actions]
    assert warnings(check, usage(rules=rules)) == [
        ("handlers.usage.rules[0]", "action 'Feature' is not known; did you mean 'feature'?")
    ]


MANY = ["{id}", "{order.id}", "export {customerId}", '{user.email|"none"}', "{args.pk:str}"]
FEW = ["{args.0}", "{rows}", "{{id}}", "{paid}", '{kind|"id"}', "export", "{video}"]


@pytest.mark.parametrize("name", ["feature", "module", "product", "action"])
def test_a_name_that_is_made_of_data(check: Check, name: str) -> None:
    """An id in a property that Freshsuccess shows by its values is a warning; a placeholder that
    may have few values, and an id in any other property, are none."""
    for template, is_data in [*((one, True) for one in MANY), *((one, False) for one in FEW)]:
        event = {"action": "x", "orderId": "{order.id}", name: template}
        found = warnings(check, usage(rules=[{"when": {"logger": "app"}, "event": event}]))
        texts = [text for _, text in found if "[many_names]" in text]
        assert len(texts) == is_data, (template, found)
        assert all(text.startswith(f"{name} is made of {{") for text in texts)


def test_extras_that_placeholders_read_are_listed(check: Check) -> None:
    """Without a record nobody knows whether they exist: a person may see a wrong name."""
    given = reading(a="{rows}", b="{user.id}", c="{user.name} {args.0}", d="{feature}")
    _, out, _ = check(as_file(given))
    assert "  reads     the extras rows, user, if a log call has them\n" in out
    assert out.endswith("\n\nOK\n")
    report = json.loads(check("logging.json", "--json")[1])
    assert report["handlers"][0]["extras"] == ["rows", "user"]
    assert "  reads " not in check(as_file(usage()))[1]


def test_a_placeholder_that_no_record_has(check: Check) -> None:
    """Records show which names are found on none of those that the rule matches."""
    given = reading(a="{rows}", b="{plan}", c="{user.id}", d="{args.0}")
    records = ["name=app,msg=sold,rows=3,accountId=acme,userId=ann", "name=other,msg=sold,plan=x"]
    where = "warning     handlers.usage.rules[0]: "
    _, out, _ = check(as_file(given), "--record", records[0], "--record", records[1])
    assert out.splitlines()[-5:] == [
        f"{where}{{args.0}} is not found on the record that it matches",
        f"{where}{{plan}} is not found on the record that it matches",
        f"{where}{{user.id}} is not found on the record that it matches",
        "",
        "OK, 3 warnings",
    ]
    arguments = [
        one for record in [*records * 3, f"{records[0]},plan=x"] for one in ("--record", record)
    ]
    _, out, _ = check(as_file(given), *arguments)
    assert f"{where}{{user.id}} is not found on any of the 4 records that it matches" in out
    assert "{plan} is not found" not in out
    report = json.loads(check(as_file(given), *arguments, "--json")[1])
    assert report["summary"]["rules"][0]["not_found"] == ["args.0", "user.id"]
    assert report["records"][0]["absent"] == ["args.0", "plan", "user.id"]
    assert report["warnings"] == 2


def test_a_misspelt_key_of_a_rule(check: Check) -> None:
    """The error is the application's own."""
    given = usage(rules=[{"when": {"loger": "app"}, "event": {"action": "x"}}])
    ((where, message),) = errors(check, given)
    assert where == "handlers.usage"
    assert "rules[0]: when has the key 'loger'; did you mean 'logger'?" in message


def test_no_handler_of_fslog(check: Check) -> None:
    """A configuration without a handler of fslog's has an error."""
    given = changed(handlers={"a": {"class": "logging.NullHandler"}}, root={"handlers": ["a"]})
    assert errors(check, given) == [
        ("handlers", "none is fslog's; add one with class: fslog.FreshsuccessHandler")
    ]


WRONG_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"rulez": []}, "FreshsuccessHandler has no argument 'rulez'; did you mean 'rules'?"),
    ({"batch_events": 0}, "batch_events is 0; expected a whole number, 1 or more"),
    ({"datacenter": "mars"}, "datacenter is 'mars'; expected one of 'us', 'eu'"),
    ({"enabled": "perhaps"}, "enabled is 'perhaps'; expected one of"),
    ({"on_problem": "app.tell"}, "in a logging configuration write ext://package.module.name"),
    ({"on_problem": "ext://nowhere.tell"}, "Cannot resolve 'nowhere.tell'"),
    ({"rules": [{"when": {"logger": "a"}}]}, "rules[0] has no event, or one that is not a mapping"),
    ({"defaults": {"action": "x"}}, "defaults has an action, which only a log call or a rule can"),
    ({"endpoint": "http://example.com"}, "endpoint is plain http to example.com"),
    ({"auth_key": "a b"}, "auth_key has a character that a URL's path cannot contain"),
    ({"ca_certs": "/nowhere.pem"}, "ca_certs"),
    ({"spool": 5}, "spool is of type int; expected a path, as a string"),
    ({"level": "LOUD"}, "Unknown level: 'LOUD'"),
]


@pytest.mark.parametrize(("arguments", "reason"), WRONG_ARGUMENTS)
def test_arguments_of_the_handler(arguments: dict[str, Any], reason: str, check: Check) -> None:
    """An invalid argument has the message that the application's own dictConfig gives."""
    given = usage(**arguments)
    found = dict(errors(check, given))
    assert reason in found["handlers.usage"]
    with pytest.raises(ValueError, match="Unable to configure handler 'usage'") as caught:
        logging.config.dictConfig(given)
    assert str(caught.value.__cause__) in found.values()


def test_missing_keys(monkeypatch: pytest.MonkeyPatch, check: Check) -> None:
    """One key alone, and none with FSLOG_ENABLED=yes, are errors; records are explained."""
    monkeypatch.delenv("FSLOG_API_KEY")
    ((where, reason),) = errors(check, PLAIN)
    assert where == "handlers.usage"
    assert reason.startswith("api_key is missing, although auth_key is set: give it as an arg")
    code, out, _ = check(as_file(PLAIN), "--record", RECORD)
    assert code == 1
    assert "  auth_key  in FSLOG_AUTH_KEY\n  api_key   missing\n" in out
    assert "event, by rules[0]" in out
    monkeypatch.delenv("FSLOG_AUTH_KEY")
    monkeypatch.setenv("FSLOG_ENABLED", "yes")
    ((where, reason),) = errors(check, PLAIN)
    assert reason.startswith("auth_key is missing: give it as an argument or in FSLOG_AUTH_KEY")
    monkeypatch.setenv("FSLOG_ENABLED", "no")
    code, out, _ = check(as_file(PLAIN), "--record", RECORD)
    assert code == 0
    assert "  disabled  by enabled or FSLOG_ENABLED\n" in out
    assert "event, by rules[0]" in out


@pytest.mark.parametrize("state", [None, "auto"])
def test_no_keys(state: str | None, monkeypatch: pytest.MonkeyPatch, check: Check) -> None:
    """Without keys the handler is off, which is no error, and the output says how it is on."""
    for name in ("FSLOG_API_KEY", "FSLOG_AUTH_KEY"):
        monkeypatch.delenv(name)
    given = usage(enabled=state) if state else PLAIN
    code, out, err = check(as_file(given), "--record", RECORD)
    assert (code, err) == (0, "")
    assert "  off       no keys: FSLOG_AUTH_KEY and FSLOG_API_KEY switch it on\n" in out
    assert "  auth_key  missing\n  api_key   missing\n" in out
    assert "event, by rules[0]" in out
    (shown,) = json.loads(check(as_file(given), "--json")[1])["handlers"]
    assert (shown["enabled"], shown["disabled_by"]) == (False, "no keys")
    monkeypatch.setenv("FSLOG_API_KEY", KEYS[1])
    monkeypatch.setenv("FSLOG_AUTH_KEY", KEYS[0])
    (shown,) = json.loads(check(as_file(given), "--json")[1])["handlers"]
    assert (shown["enabled"], shown["disabled_by"]) == (True, None)


def test_errors_in_the_environment(monkeypatch: pytest.MonkeyPatch, check: Check) -> None:
    """Environment variables are checked like arguments; the spool only if fslog is enabled."""
    for name, value, reason in (
        ("FSLOG_ENABLED", "perhaps", "FSLOG_ENABLED is 'perhaps'; expected one of"),
        ("FSLOG_DATACENTER", "mars", "datacenter is 'mars'"),
        ("FSLOG_ENDPOINT", "http://example.com", "endpoint is plain http to example.com"),
        ("FSLOG_SPOOL", "/dev/null/spool", "'/dev/null/spool' cannot be used"),
    ):
        monkeypatch.setenv(name, value)
        ((_, message),) = errors(check, PLAIN)
        assert reason in message
        if name != "FSLOG_SPOOL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("FSLOG_ENABLED", "no")
    assert errors(check, PLAIN) == []


def test_keys_in_the_configuration(check: Check) -> None:
    """Keys in a file give warnings, and are never shown."""
    given = usage(auth_key=KEYS[0], api_key=KEYS[1])
    assert [where for where, _ in warnings(check, given)] == [
        "handlers.usage.auth_key",
        "handlers.usage.api_key",
    ]
    code, out, _ = check(as_file(given))
    assert code == 0
    assert "  auth_key  in the configuration\n" in out
    # In a program they may be from anywhere.
    write("pack.py", f"LOGGING = {given!r}")
    assert "warning" not in check("pack")[1]


@pytest.mark.parametrize(
    ("given", "where", "reason"),
    [
        (changed(version=None), "version", "missing; dictConfig accepts only 1"),
        (changed(version=2), "version", "2; dictConfig accepts only 1"),
        (changed(incremental=True), "incremental", "creates no handlers"),
        (changed(root={"handlers": ["usgae"], "level": "INFO"}), "root",
         "unknown handler 'usgae'; did you mean 'usage'?"),
        (changed(root={"handlers": "usage", "level": "INFO"}), "root.handlers",
         "expected a list, found str"),
        (changed(root={"handlers": ["usage"], "level": "info"}), "root.level",
         "unknown level 'info'; did you mean 'INFO'?"),
        (changed(root={"handlers": ["usage"], "level": "INFO", "filters": ["a"]}), "root",
         "unknown filter 'a'"),
        (usage(formatter="evnt") | {"formatters": {"event": {}}}, "handlers.usage",
         "unknown formatter 'evnt'; did you mean 'event'?"),
        (changed(root=None), "handlers.usage", "no logger has it, so no record reaches it"),
        (changed(loggers={"app": {"handlers": ["usage"]}}), "loggers.app",
         "its records reach usage 2 times, through the logger app and the root logger"),
        (changed(handlers={"usage": {"class": "fslog.FreshSuccessHandler"}}), "handlers.usage",
         "did you mean 'fslog.FreshsuccessHandler'?"),
        (changed(handlers={"usage": {"level": "INFO"}}), "handlers.usage",
         "class is missing; expected class, or '()'"),
        (changed(handlers={"usage": 5}), "handlers.usage", "expected a mapping, found int"),
        (changed(handlers=[]), "handlers", "expected a mapping, found list"),
        (changed(loggers={"app": 5}), "loggers.app", "expected a mapping, found int"),
        (usage(formatter="plain") | {"formatters": {"plain": {"format": "%(message)s"}}},
         "handlers.usage", "the formatter is of type Formatter; a FreshsuccessHandler needs an"),
        (usage(formatter="event") | {"formatters": {"event": {"()": "fslog.EventFormatter"}}},
         "handlers.usage", "are given to both the handler and a formatter; give them to one of"),
        (usage(spool="/dev/null/spool"), "handlers.usage.spool", "cannot be used: Not a directory"),
    ],
)  # fmt: skip
def test_errors(given: dict[str, Any], where: str, reason: str, check: Check) -> None:
    """What keeps a configuration from loading, or an event from being sent once, is an error."""
    assert [
        message for place, message in errors(check, given) if place == where and reason in message
    ]


def test_a_formatter_of_its_own(check: Check) -> None:
    """A separate EventFormatter creates the events; with `class`, its arguments are ignored."""
    made = {"()": "fslog.EventFormatter", "rules": [RULE], "session": "idle"}
    handler = {"class": "fslog.FreshsuccessHandler", "formatter": "event"}
    given = changed(formatters={"event": made}, handlers={"usage": handler})
    code, out, _ = check(as_file(given), "--record", RECORD)
    assert code == 0
    assert "event, by rules[0]" in out
    by_class = {**made, "class": made["()"]}
    del by_class["()"]
    ((where, reason),) = errors(check, {**given, "formatters": {"event": by_class}})
    assert (where, reason) == (
        "formatters.event",
        "dictConfig ignores rules, session next to 'class'; write '()' instead of 'class'",
    )
    ((where, reason),) = errors(check, {**given, "formatters": {"event": {**made, "rules": 5}}})
    assert where == "handlers.usage"
    assert "rules is of type int" in reason


SUBCLASS = """
    import functools
    import logging
    from fslog import FreshsuccessHandler

    class Tenants(FreshsuccessHandler):
        def __init__(self, tenant, **more):
            super().__init__(defaults={"accountId": tenant}, spool="spool", **more)

    def make(tenant):
        return Tenants(tenant, enabled=True)

    def broken(tenant):
        if tenant:
            return logging.FileHandler("made.log")
        return FreshsuccessHandler()

    def other(tenant):
        return logging.FileHandler("made.log")

    def odd():
        return 5 if FreshsuccessHandler else None

    partial = functools.partial(Tenants, "acme")
    LEVEL = "INFO"
    FILTER = logging.Filter("app")

    class Settings:
        @property
        def LOGGING(self):
            raise RuntimeError("not configured")

    settings = Settings()
    """


@pytest.mark.parametrize("factory", ["Tenants", "make", "partial"])
def test_subclasses_and_factories(factory: str, check: Check) -> None:
    """A subclass, a factory and a partial are recognized as fslog's handler, and disabled."""
    write("own.py", SUBCLASS)
    name = "class" if factory == "Tenants" else "()"
    handler = {name: f"own.{factory}"} | ({} if factory == "partial" else {"tenant": "acme"})
    path = as_file(changed(handlers={"usage": handler}))
    record = "name=app,action=signIn,userId=ann"
    code, out, _ = check(path, "--record", record)
    assert code == 0
    assert 'accountId  "acme"' in out
    assert not Path("spool").exists()


def test_factories_of_other_handlers_are_not_called(check: Check) -> None:
    """A factory that does not name fslog's handler is not called; others' results are checked."""
    write("own.py", SUBCLASS)
    handler = {"()": "own.other", "tenant": "acme"}
    assert errors(check, changed(handlers={"usage": handler}))[0][0] == "handlers"
    assert not Path("made.log").exists()
    ((where, reason),) = errors(check, changed(handlers={"usage": {"()": "own.odd"}}))
    assert (where, reason) == (
        "handlers.usage",
        "the factory returned a int, not a FreshsuccessHandler",
    )
    handler = {"()": "own.broken", "tenant": ""}
    assert errors(check, changed(handlers={"usage": handler})) == []
    assert makes(object(), FreshsuccessHandler) is False
    assert makes(FreshsuccessHandler.setFormatter, FreshsuccessHandler) is False


def test_references_and_objects(check: Check) -> None:
    """The references ext:// and cfg:// are resolved, and filters that are objects are asked."""
    write("own.py", SUBCLASS)
    given = changed(root={"level": "ext://own.LEVEL", "handlers": "cfg://lists.root"})
    given["lists"] = {"root": ["usage"]}
    given["handlers"]["usage"]["filters"] = ["one", "two"]
    given["filters"] = {"one": {"()": "logging.Filter", "name": "app"}, "two": {"()": "own.other"}}
    assert warnings(check, given) == []
    _, out, _ = check(as_file(given), "--record", "name=web,action=x,accountId=a,userId=u")
    assert "does not reach the handler: a filter of the handler usage rejects it" in out
    write(
        "pack.py", f"import own\nLOGGING = {PLAIN!r}\nLOGGING['root']['filters'] = [own.FILTER]\n"
    )
    _, out, _ = check("pack", "--record", "name=root,action=x,accountId=a,userId=u")
    assert "does not reach the handler: a filter of the root logger rejects it" in out
    given["root"]["level"] = "ext://own.NOTHING"
    assert dict(errors(check, given))["root.level"].startswith("unknown level 'ext://own.NOTHING'")


def test_settings_that_fail(check: Check) -> None:
    """Settings that raise when they are read, as Django's can, are reported."""
    write("own.py", SUBCLASS)
    code, out, err = check("own:settings.LOGGING")
    assert (code, out) == (1, "")
    assert err == "fslog check: own:settings.LOGGING: RuntimeError: not configured\n"


def test_a_handler_that_writes_events(check: Check) -> None:
    """A handler with an EventFormatter needs an equal one among its filters."""
    event = {"()": "fslog.EventFormatter", "rules": [RULE]}
    file = {"class": "logging.FileHandler", "filename": "events.ndjson", "formatter": "event"}
    given = changed(formatters={"event": event}, handlers={"usage": file})
    ((where, reason),) = warnings(check, given)
    assert where == "handlers.usage.filters"
    assert "writes an empty line for each record that is not an event" in reason
    given["handlers"]["usage"]["filters"] = ["events"]
    given["filters"] = {"events": {"()": "fslog.EventFormatter"}}
    ((_, reason),) = warnings(check, given)
    assert "have different arguments" in reason
    for one in (event, {"()": "cfg://formatters.event"}, {"()": "cfg://formatters[event]"}):
        given["filters"] = {"events": one}
        assert diagnostics(check, given, "warning") == []
    code, out, _ = check(as_file(given), "--record", RECORD)
    assert code == 0
    assert "writes    events as lines; another program has to send them" in out
    assert "event, by rules[0]" in out
    code, out, _ = check(as_file(given), "--record", "name=app,msg=hello")
    assert "does not reach the handler: a filter of the handler usage rejects it" in out
    code, out, err = check(as_file(given), "--record", "name=app,action=x")
    assert "it would be invalid" in out
    assert err == ""
    assert not Path("events.ndjson").exists()
    given["filters"] = {"events": {**event, "session": "never"}}
    assert "session is 'never'" in dict(errors(check, given))["filters.events"]


@pytest.mark.parametrize(
    ("named", "expected"),
    [("evnt", "'evnt' is not a formatter of the class fslog.EventFormatter; did you mean 'event'?"),
     ("plain", "'plain' is not a formatter of the class fslog.EventFormatter")],
)  # fmt: skip
def test_a_filter_that_is_no_event_formatter(named: str, expected: str, check: Check) -> None:
    """A reference to a formatter that does not exist, or is another one, is an error."""
    file = {"class": "logging.FileHandler", "filename": "events.ndjson", "formatter": "event"}
    given = changed(
        formatters={"event": {"class": "fslog.EventFormatter"}, "plain": {"format": "x"}},
        filters={"events": {"()": f"cfg://formatters.{named}"}},
        handlers={"usage": {**file, "filters": ["events"]}},
    )
    assert ("filters.events", expected) in errors(check, given)
    given["filters"] = {"events": {"()": "cfg://formatters.event"}}
    assert errors(check, given) == []


RULES = [
    {"when": {"logger": "app"}, "event": {"action": "a"}},
    {"when": {"logger": "app.reports", "args.0": 1}, "event": {"action": "b"}},
    {"when": {"logger": "application", "args.0": 1}, "event": {"action": "c"}},
]


@pytest.mark.parametrize(
    ("given", "where", "reason"),
    [
        (changed(disable_existing_loggers=None), "disable_existing_loggers",
         "not set, and true by default: loggers that exist before"),
        (changed(disable_existing_loggers=True), "disable_existing_loggers", "true: loggers"),
        (changed(root={"handlers": ["usage"]}), "root",
         "it accepts WARNING and above (the default, as it has no level): calls of log.info() do"),
        (changed(root={"handlers": ["usage"], "level": "ERROR"}), "root",
         "it accepts ERROR and above (its level)"),
        (changed(root={"level": "ERROR"}, loggers={"app": {"handlers": ["usage"]}}), "loggers.app",
         "it accepts ERROR and above (the level of the root logger)"),
        (usage(level="WARNING"), "handlers.usage.level", "WARNING: calls of log.info() make no"),
        (usage(rules=RULES), "handlers.usage.rules[1]",
         "it never matches, since rules[0] matches all of its records first"),
        (changed(loggers={"app": {"propagate": False}}), "handlers.usage.rules[0]",
         "records of the logger app.reports do not arrive: the logger app does not propagate"),
        (changed(loggers={"app": {"level": "ERROR"}}), "handlers.usage.rules[0]",
         "INFO records of the logger app.reports do not arrive: the logger app accepts ERROR and"),
        (usage(rules=[{"when": {"logger": "django.server"}, "event": {"action": "a"}}]),
         "handlers.usage.rules[0]", "(as Django sets it; configure propagate: true)"),
        (usage(rules=[{"when": {"logger": "gunicorn.access"}, "event": {"action": "a"}}])
         | {"loggers": {"app": {}}}, "handlers.usage.rules[0]", "(as gunicorn sets it"),
        (usage(rules=[{"preset": "access", "path": "/a", "event": {"action": "a"}}])
         | {"loggers": {"uvicorn.access": {"propagate": False}, "werkzeug": {}}},
         "handlers.usage.rules[0]",
         "records of the logger uvicorn.access do not arrive: the logger uvicorn.access does not"),
        (usage(rules=[{"preset": "access", "path": "/a", "event": {"action": "a"}}] * 2),
         "handlers.usage.rules[1]", "it never matches, since rules[0]"),
    ],
)  # fmt: skip
def test_warnings(given: dict[str, Any], where: str, reason: str, check: Check) -> None:
    """What works, but is probably not intended, is a warning and does not change the exit code."""
    found = warnings(check, given)
    assert [message for place, message in found if place == where and reason in message], found
    assert len(found) == 1


def test_no_warnings(check: Check) -> None:
    """Rules for other loggers, gunicorn's defaults and Django's levels give no warning."""
    rules = [
        {"when": {"logger": name}, "event": {"action": "a"}}
        for name in ("gunicorn.access", "django.request", "application", "app")
    ]
    rules += [
        {"preset": "access", "path": "/a", "event": {"action": "a"}},
        {"preset": "access", "path": "/a", "methods": "PUT", "event": {"action": "a"}},
        {"preset": "access", "when": {"logger": "/server/"}, "event": {"action": "a"}},
        {"preset": "celery", "event": {"action": "a"}},
    ]
    assert warnings(check, usage(rules=rules)) == []


def test_a_preset_in_gunicorns_configuration(check: Check) -> None:
    """gunicorn's access logger does not propagate if the configuration has loggers but not it."""
    rules = [{"preset": "access", "path": "/a", "event": {"action": "a"}}]
    for loggers, expected in (
        ({"app": {}}, ["records of the logger gunicorn.access do not arrive"]),
        ({"gunicorn.access": {"propagate": True}}, []),
        (None, []),
    ):
        given = {**usage(rules=rules), **({} if loggers is None else {"loggers": loggers})}
        write("gunicorn.conf.py", f"logconfig_dict = {given!r}\n")
        _, out, _ = check("gunicorn.conf.py", "--json")
        found = [one["message"] for one in json.loads(out)["diagnostics"]]
        assert [message.partition(":")[0] for message in found if "arrive" in message] == expected


def test_behind_a_queue(check: Check) -> None:
    """Records reach fslog through a QueueHandler, without message and arguments of their own."""
    write(
        "queues.py", "import logging.handlers\nclass Queue(logging.handlers.QueueHandler): pass\n"
    )
    given = changed()
    given["handlers"] = {"usage": USAGE, "queue": {"class": "queues.Queue", "handlers": ["usage"]}}
    given["root"] = {"handlers": ["queue"], "level": "INFO"}
    ((where, reason),) = warnings(check, given)
    assert where == "handlers.usage.rules[0]"
    assert reason.startswith("the QueueHandler queue merges message and arguments")


def test_behind_a_memory_handler(check: Check) -> None:
    """Records reach fslog through a MemoryHandler, unless its level stops them."""
    memory = {"class": "logging.handlers.MemoryHandler", "capacity": 9, "target": "usage"}
    given = changed(handlers={"usage": USAGE, "memory": memory})
    given["root"] = {"handlers": ["memory"], "level": "INFO"}
    assert warnings(check, given) == []
    given["handlers"]["memory"] = {**memory, "level": "ERROR"}
    _, out, _ = check(as_file(given), "--record", RECORD)
    assert "the handler memory accepts ERROR and above (it would be an event, by rules[0])" in out


def test_a_spool_of_other_keys(monkeypatch: pytest.MonkeyPatch, check: Check) -> None:
    """Other keys are an error while a living process uses the spool, and a warning afterwards."""
    spool = directory(Path("spool").absolute())
    owner = spool.create_owner()
    given = usage(spool="spool")
    assert errors(check, given) == []
    monkeypatch.setenv("FSLOG_API_KEY", "another-key")
    ((where, reason),) = errors(check, given)
    assert where == "handlers.usage.spool"
    assert "a living process uses it with other keys" in reason
    owner.remove()
    ((_, reason),) = warnings(check, given)
    assert "it belongs to other keys; this configuration would take it over" in reason


def make_link(path: Path) -> None:
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.touch(), "it is not a directory"),
        (make_link, "it is a symbolic link, which is not followed"),
        (lambda path: (path / "notes").mkdir(parents=True), "it contains other files ('notes')"),
        pytest.param(
            lambda path: (path.mkdir(), os.chown(path, 12345, -1)),
            "it belongs to another user",
            marks=pytest.mark.needs("root"),
        ),
    ],
)
def test_a_spool_that_cannot_be_used(
    make: Callable[[Path], Any], reason: str, check: Check
) -> None:
    """The reasons are those of the handler itself."""
    make(Path("spool"))
    given = usage(spool="spool")
    ((where, message),) = errors(check, given)
    assert where == "handlers.usage.spool"
    assert reason in message
    with pytest.raises(ValueError, match="cannot be used") as caught:
        FreshsuccessHandler(spool="spool")
    assert reason in str(caught.value)


def test_a_spool_that_cannot_be_created(check: Check) -> None:
    """A spool's directory must be possible to create; missing parents are accepted."""
    Path("link").symlink_to("elsewhere")
    ((_, reason),) = errors(check, usage(spool="link/spool"))
    assert reason.endswith("link' is not a directory")
    assert errors(check, usage(spool="a/b/c/spool")) == []
    assert not Path("a").exists()


def test_an_empty_directory_may_be_a_spool(check: Check) -> None:
    """An empty directory, and one with the files of a new volume, is accepted as a spool."""
    Path("spool/lost+found").mkdir(parents=True)
    code, out, _ = check(as_file(usage(spool="spool")))
    assert code == 0
    assert "spool, empty" in out


@pytest.mark.parametrize(
    ("old", "new", "where", "reason"),
    [
        ("%%s", "%s", "handler_usage.kwargs", "write %% for a percent sign"),
        ("args=()", "args=(1,)", "handler_usage", "args is not empty"),
        ("kwargs={", "kwargs={{", "handler_usage", "cannot evaluate the arguments"),
        ("qualname=app.reports", "", "logger_reports", "qualname, the logger's name, is missing"),
        ("keys=plain", "keys=plain,more", "formatter_more", "this section is missing"),
        ("handlers=usage,file", "handlers=usge,file", "root", "did you mean 'usage'?"),
        ("class=FileHandler", "class=FleHandler", "handlers.file", "Cannot resolve 'FleHandler'"),
        ("class=FileHandler", "", "handlers.file", "class is missing"),
    ],
)
def test_errors_in_ini_files(old: str, new: str, where: str, reason: str, check: Check) -> None:
    """An error that fileConfig would raise is reported with its section."""
    assert old in INI
    code, out, _ = check(write("logging.ini", INI.replace(old, new)), "--json")
    assert code == 1
    found = [(one["where"], one["message"]) for one in json.loads(out)["diagnostics"]]
    assert [message for place, message in found if place == where and reason in message], found


def test_an_ini_file_is_read_as_by_fileconfig(check: Check) -> None:
    """Loggers propagate by default, `logging`'s classes have short names, existing ones end."""
    text = INI.replace("handlers=\n", "handlers=\n    propagate=0\n")
    code, out, _ = check(write("logging.ini", text), "--record", RECORD)
    assert code == 0
    assert (
        "does not reach the handler: the logger app.reports does not propagate (it would be" in out
    )
    assert "it disables all existing loggers" in out
    assert not Path("made.log").exists()


def test_circular_references(check: Check) -> None:
    """Circular references, which YAML allows, are followed to a limit."""
    event = "{'()': fslog.EventFormatter, defaults: *a}"
    path = write(
        "circle.yaml",
        f"""
        version: 1
        more: &a {{b: *a}}
        formatters: {{event: {event}}}
        filters: {{events: {event}}}
        handlers: {{file: {{class: logging.NullHandler, formatter: event, filters: [events]}}}}
        root: {{handlers: [file], level: INFO}}
        """,
    )
    code, _, err = check(path)
    assert (code, err) == (0, "")
    code, _, err = check(write("circle.yaml", "a: &a {b: *a}"))
    assert (code, err) == (
        1,
        "fslog check: no logging configuration found: expected a mapping with handlers\n",
    )


def test_several_handlers(check: Check) -> None:
    """The first handler that posts explains the records, unless --handler names another."""
    file = {"class": "logging.FileHandler", "filename": "a.log", "formatter": "event"}
    given = changed(
        formatters={"event": {"()": "fslog.EventFormatter"}},
        handlers={"file": file, "other": {"class": "fslog.FreshsuccessHandler"}, "usage": USAGE},
    )
    given["root"] = {"handlers": ["file", "other", "usage"], "level": "INFO"}
    path = as_file(given)
    assert "no event\n" in check(path, "--record", RECORD)[1]
    assert "event, by rules[0]" in check(path, "--record", RECORD, "--handler", "usage")[1]
    code, _, err = check(path, "--record", RECORD, "--handler", "nothing")
    assert code == 2
    assert "'nothing' produces no events; these do: file, other, usage" in err


def test_a_handler_that_cannot_be_created_explains_nothing(check: Check) -> None:
    """If no handler can be created, the output says that records cannot be explained."""
    path = as_file(usage(rulez=[]))
    code, out, _ = check(path, "--record", RECORD)
    assert code == 1
    assert "no handler can be created, so no record can be explained\n" in out
    code, out, _ = check(path, "--record", RECORD, "--json")
    assert (code, json.loads(out)["records"]) == (1, None)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "the following arguments are required: CONFIG"),
        (["a.json", "--record", "nothing"], "expected name=value at 'nothing'"),
        (["a.json", "--context", "action=x"], "action cannot be bound"),
        (
            ["a.json", "--only", "event,nothing"],
            "'nothing' is unknown; expected one of event, warning",
        ),
        (["a.json", "--details", "-1"], "is not a whole number"),
    ],
)
def test_invalid_arguments(arguments: list[str], reason: str, check: Check) -> None:
    """An invalid argument is reported with what is expected."""
    code, out, err = check(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: fslog check")
    assert reason in err


def test_help(check: Check) -> None:
    """The help explains records and log lines, and has examples and the exit codes."""
    code, out, _ = check("--help")
    assert code == 0
    for part in ("records:\n", "log lines:\n", "examples:\n  fslog check", "The exit code is 0"):
        assert part in out


@pytest.mark.slow
def test_as_a_process(tmp_path: Path) -> None:
    """As a process, it exits at once, without warnings, and leaves nothing behind."""
    arguments = ["check", "logging.json", "--record", RECORD]
    flags = (*STRICT, "-m", "fslog")
    files = {"logging.json": json.dumps(usage(spool=str(tmp_path / "spool")))}
    ended = run("", "http://127.0.0.1:9", flags=flags, arguments=arguments, files=files)
    assert "OK" in ended.out
    assert not (tmp_path / "spool").exists()


def test_hostile_names_are_escaped(check: Check) -> None:
    """Control characters in a configuration are escaped."""
    name = "a\x1b[31m\u202e\x9b"
    given = changed(handlers={name: {**USAGE, "fields": {name: name}, "defaults": {name: name}}})
    given["root"] = {"handlers": [name, f"{name}2"], "level": "INFO"}
    path = as_file(given)
    code, out, _ = check(path, "--record", f"name={json.dumps(name)},msg=x")
    assert code == 1
    assert not [one for one in out if not one.isprintable() and one != "\n"]
    assert json.loads(check(path, "--json")[1])["handlers"][0]["handler"] == name


NAMES = st.sampled_from(
    ["version", "handlers", "loggers", "root", "formatters", "filters", "class", "()", "usage",
     "level", "propagate", "rules", "when", "event", "fields", "formatter", "target", "app", "",
     "fslog.FreshsuccessHandler", "fslog.EventFormatter", "logging.handlers.MemoryHandler",
     "INFO", "ext://sys.stdout", "cfg://handlers", "logger", "action", "spool", "a", "1"]
)  # fmt: skip
ATOMS = st.none() | st.booleans() | st.integers(-2, 60) | st.floats() | NAMES
VALUES = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4)
)


@pytest.mark.slow
@given(st.dictionaries(NAMES, VALUES, max_size=6), st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_mapping_gives_diagnostics(given: dict[str, Any], handler: dict[str, Any]) -> None:
    """Any mapping gives diagnostics with a place and a message, and no exception."""
    usual = {"class": "fslog.FreshsuccessHandler", **handler}
    for mapping in (given, {**PLAIN, **given}, {**PLAIN, "handlers": {"usage": usual}}):
        with dry_run() as run:
            config = parse(mapping)
            lint(config, event_handlers(config, run))
        assert all(one.where and one.message for one in config.diagnostics)


PARTS = st.fixed_dictionaries(
    {},
    optional={
        "level": st.sampled_from(["NOTSET", "DEBUG", "INFO", "ERROR"]),
        "handlers": st.lists(st.sampled_from(["usage", "other", "memory"]), max_size=3),
        "propagate": st.booleans(),
        "filters": st.just(["f"]),
    },
)


class Counting(logging.Handler):
    """Count records."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


@given(
    st.dictionaries(st.sampled_from(["a", "a.b", "a.b.c", "b"]), PARTS),
    PARTS,
    st.sampled_from([0, 10, 20, 40]),
    st.sampled_from(["a", "a.b", "a.b.c", "a.b.c.d", "b", "x", "root"]),
    st.sampled_from([10, 20, 30, 40]),
)
def test_a_record_is_routed_as_logging_routes_it(
    loggers: dict[str, Any], root: dict[str, Any], least: int, name: str, level: int
) -> None:
    """For any levels, filters, handlers and propagation, a record arrives as often as reported."""
    handlers: dict[str, Any] = {}
    handlers["usage"] = {"class": "fslog.FreshsuccessHandler", "level": least}
    handlers["other"] = {"class": "logging.NullHandler"}
    memory = {"class": "logging.handlers.MemoryHandler", "capacity": 1, "target": "usage"}
    handlers["memory"] = {**memory, "level": "INFO"}
    given = {"version": 1, "handlers": handlers, "loggers": loggers, "root": root}
    given["filters"] = {"f": {"name": "a.b"}}
    record = logging.makeLogRecord({"name": name, "levelno": level})
    route = Routing(parse(given), "usage").route(name, level, record)

    top = logging.RootLogger(logging.WARNING)
    manager = logging.Manager(top)
    top.addHandler(logging.NullHandler())
    usage = Counting(least)
    made = {"usage": usage, "other": logging.NullHandler()}
    made["memory"] = logging.handlers.MemoryHandler(1, target=usage)
    made["memory"].setLevel(logging.INFO)
    for one, part in (("", root), *loggers.items()):
        logger = manager.getLogger(one) if one else top
        logger.setLevel(part.get("level", "NOTSET" if one else "WARNING"))
        logger.propagate = part.get("propagate", True)
        for handler in part.get("handlers", []):
            logger.addHandler(made[handler])
        for _ in part.get("filters", []):
            logger.addFilter(logging.Filter("a.b"))
    (top if name == "root" else manager.getLogger(name)).log(level, "x")
    assert len(route.by) == usage.count
    assert bool(route.reason) == (not route.by)


def test_a_configuration_file_of_gunicorn(tmp_path: Path, check: Check) -> None:
    """gunicorn's own configuration file can be checked as it is."""
    shutil.copy(ROOT / "examples" / "gunicorn_app" / "gunicorn.conf.py", tmp_path)
    assert check("gunicorn.conf.py")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_ctrl_c_in_a_log(more: list[str], tmp_path: Path) -> None:
    """Ctrl-C ends it with 130 and the results so far; JSON is complete."""
    path = as_file(PLAIN)
    os.mkfifo("fifo")
    arguments = ["check", path, "--log", "fifo", "--only", "unreadable", *more]
    with (
        at_work(*arguments, endpoint="http://127.0.0.1:9", where=tmp_path) as process,
        open("fifo", "wb") as fifo,  # returns when the command reads
    ):
        # More than a pipe and the command's buffer hold: the first line was read when it is out.
        fifo.write(b"not a record\n" + b'{"name": "app", "message": "hello"}\n' * 10_000)
        fifo.flush()
        said = interrupted(process)
    assert said.code == 130
    assert said.err == "fslog check: interrupted; the rest of the log was not read\n"
    if more:
        assert said.json["summary"]["lines"] > 1
        assert [one["line"] for one in said.json["records"]] == [1]
    else:
        assert "line 1  not a log record" in said.out
        assert "records without an event\n" in said.out
