"""Log calls in source: their loggers, messages, arguments and extras; nothing is guessed."""

from __future__ import annotations

import ast
import random
import sysconfig
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from fslog.cli.options import CommandError
from fslog.cli.plan.source.calls import LogCall, Source, read
from fslog.cli.plan.source.values import UNKNOWN, Either, Items, Unknown, options


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def source_of(files: dict[str, str]) -> Source:
    """Return what is found in files, which are created."""
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return read(["."])


def only(files: dict[str, str] | str) -> LogCall:
    """Return the only log call in files, or in one module `app.reports`."""
    if isinstance(files, str):
        files = {"app/__init__.py": "", "app/reports.py": files}
    (call,) = source_of(files).calls
    return call


def names(call: LogCall) -> set[Any]:
    """Return the possible names of a call's logger, as text; `{...}` stands for what is unknown."""
    return {str(one) for one in options(call.logger)}


LOGGERS = {
    "optional": (
        "from typing import Optional\ndef f(log: Optional[logging.Logger]):\n    log.info('x')",
        {"{...}"},
    ),
    "annotated adapter": (
        "def f(log: 'LoggerAdapter[logging.Logger]'):\n    log.info('x')",
        {"{...}"},
    ),
    "annotated wrongly": ("def f(log: '('):\n    log.info('x')", {"{...}"}),
    "annotated otherwise": ("def f(log: Log):\n    log.info('x')", {"{...}"}),
    "multiprocessing": (
        "import multiprocessing as m\nm.get_logger().info('x')",
        {"multiprocessing"},
    ),
    "getattr of self": (
        "class A:\n    log = getLogger('a')\n    def f(self):\n"
        "        getattr(self, 'log').info('x')",
        {"a"},
    ),
    "computed method": ("log = getLogger('a')\ndef f(n):\n    getattr(log, n)('x')", {"a"}),
    "by itself": ("L = getLogger\nL(name='a').info('x')", {"a"}),
    "spread": ("def f(n):\n    getLogger(*n).info('x')", {"{...}"}),
    "lambda": ("make = lambda n: getLogger(n)\nmake('a').info('x')", {"a"}),
    "async": ("async def make():\n    return getLogger('a')\nmake().info('x')", {"{...}"}),
    "generator": (
        "def make():\n    yield 1\n    return getLogger('a')\nlog = make()\nlog.info('x')",
        {"{...}"},
    ),
    "keyword only": (
        "def make(*, a='x', n='y'):\n    def g(): return 1\n"
        "    return getLogger(a + n)\nmake(n='b').info('x')",
        {"xb"},
    ),
    "named argument": ("def make(n):\n    return getLogger(n)\nmake(n='b').info('x')", {"b"}),
    "decorated": (
        "@cached\ndef make():\n    return getLogger('a')\nlog = make()\nlog.info('x')",
        {"{...}"},
    ),
    "static method": (
        "class A:\n    @staticmethod\n    def make(n):\n"
        "        return getLogger(n)\n    def f(self):\n"
        "        self.make('a').info('x')",
        {"a"},
    ),
    "static self": (
        "class A:\n    log = getLogger('a')\n    @staticmethod\n    def f(self):\n"
        "        self.log.info('x')",
        {"{...}"},
    ),
    "name of a logger": ("getLogger(getLogger('a').name + '.b').info('x')", {"a.b"}),
    "name of a class": (
        "class A:\n    pass\ngetLogger(A.__module__ + A.__name__).info('x')",
        {"app.reportsA"},
    ),
    "custom logger": ("class L(logging.Logger):\n    pass\nL('a').info('x')", {"a"}),
    "own application": (
        "import flask\nclass App(flask.Flask):\n    pass\nApp('shop').logger.info('x')",
        {"shop"},
    ),
    "application as a script": (
        "import flask\nflask.Flask(__name__).logger.info('x')\n"
        "if __name__ == '__main__':\n    pass",
        {"app.reports", "reports"},
    ),
    "item": ("LOGS = {'a': getLogger('a')}\nLOGS['a'].info('x')", {"a"}),
    "index": ("LOGS = [getLogger('a')]\nLOGS[0].info('x')", {"a"}),
    "changed list": (
        "LOGS = [getLogger('a')]\nLOGS.append(1)\nlog = LOGS[0]\nlog.info('x')",
        {"{...}"},
    ),
    "nonlocal": (
        "def f():\n    log = getLogger('a')\n    def g():\n        nonlocal log\n"
        "        log = getLogger('b')\n    log.info('x')",
        {"a", "b"},
    ),
    "stored in a known object": (
        "class B:\n    pass\nclass A:\n    log = getLogger('a')\n"
        "    def f(self):\n        self.log.info('x')\n"
        "B().log = getLogger('b')",
        {"a"},
    ),
    "declared": ("log: logging.Logger\nlog = getLogger('a')\nlog.info('x')", {"a"}),
    "module": ("log = logging.getLogger(__name__)\nlog.info('x')", {"app.reports"}),
    "literal": ("logging.getLogger('shop').info('x')", {"shop"}),
    "root": ("logging.info('x')", {"root"}),
    "root by call": ("logging.getLogger().info('x')", {"root"}),
    "root object": ("logging.root.warning('x')", {"root"}),
    "alias": ("import logging as L\nfrom logging import getLogger as g\ng('a').info('x')", {"a"}),
    "child": ("logging.getLogger('a').getChild('b').info('x')", {"a.b"}),
    "child of root": ("logging.getLogger().getChild('b').info('x')", {"b"}),
    "package": ("logging.getLogger(__package__).info('x')", {"app"}),
    "part": ("logging.getLogger(__name__.split('.')[0]).info('x')", {"app"}),
    "f-string": ("logging.getLogger(f'{__name__}.audit').info('x')", {"app.reports.audit"}),
    "constant": ("NAME = 'audit'\nlogging.getLogger(NAME).info('x')", {"audit"}),
    "prefix": ("def f(n):\n    logging.getLogger('a.' + n).info('x')", {"a.{...}"}),
    "several": ("log = getLogger('a') if f() else getLogger('b')\nlog.info('x')", {"a", "b"}),
    "bound twice": (
        "log = getLogger('a')\ndef f():\n    global log\n    log = getLogger('b')\nlog.info('x')",
        {"a", "b"},
    ),
    "or": ("log = None or getLogger('a')\nlog.info('x')", {"a"}),
    "none first": (
        "log = None\ndef f():\n    global log\n    log = getLogger('b')\n    log.info(1)",
        {"b"},
    ),
    "tuple": ("a, log = 1, getLogger('a')\nlog.info('x')", {"a"}),
    "walrus": ("(log := getLogger('a')).info('x')", {"a"}),
    "run as a script": (
        "getLogger(__name__).info('x')\nif __name__ == '__main__':\n    pass",
        {"app.reports", "__main__"},
    ),
    "adapter": ("LoggerAdapter(getLogger('a'), {}).info('x')", {"a"}),
    "annotated": ("def f(log: logging.Logger):\n    log.info('x')", {"{...}"}),
    "annotated text": ("def f(log: 'logging.Logger | None'):\n    log.info('x')", {"{...}"}),
    "parameter": ("log = getLogger('a')\ndef f(log):\n    log.info('x')", {"{...}"}),
    "loop": ("for log in loggers:\n    log.info('x')", {"{...}"}),
    "method": ("info = getLogger('a').info\ninfo('x')", {"a"}),
    "imported function": ("from logging import info\ninfo('x')", {"root"}),
    "getattr": ("log = getLogger('a')\ngetattr(log, 'info')('x')", {"a"}),
    "function": ("def make(n):\n    return getLogger('x.' + n)\nmake('y').info('x')", {"x.y"}),
    "annotated result": (
        "def make(n) -> logging.Logger:\n    return other(n)\nmake('y').info('x')",
        {"{...}"},
    ),
    "default": ("def make(n='d'):\n    return getLogger(n)\nmake().info('x')", {"d"}),
    "local": ("def f():\n    log = getLogger('a')\n    def g():\n        log.info('x')", {"a"}),
    "class": (
        "class A:\n    log = getLogger('a')\n    def f(self):\n        self.log.info('x')",
        {"a"},
    ),
    "class by name": ("class A:\n    log = getLogger('a')\nA.log.info('x')", {"a"}),
    "class body": (
        "log = getLogger('m')\nclass A:\n    log = getLogger('a')\n    def f(self):\n"
        "        log.info('x')",
        {"m"},
    ),
    "instance": (
        "class A:\n    def __init__(self):\n        self.log = getLogger('a')\n"
        "    def f(self):\n        self.log.info('x')",
        {"a"},
    ),
    "given to the instance": (
        "class A:\n    def __init__(self, log):\n        self.log = log\n"
        "    def f(self):\n        self.log.info('x')",
        {"{...}"},
    ),
    "base": (
        "class B:\n    log = getLogger('b')\nclass A(B):\n    def f(self):\n"
        "        self.log.info('x')",
        {"b"},
    ),
    "subclass": (
        "class B:\n    log = getLogger('b')\n    def f(self):\n        self.log.info('x')\n"
        "class A(B):\n    log = getLogger('a')",
        {"a", "b"},
    ),
    "stored from outside": (
        "class A:\n    log = getLogger('a')\n    def f(self):\n"
        "        self.log.info('x')\ndef g(a):\n    a.log = getLogger('c')",
        {"a", "c"},
    ),
    "property": (
        "class A:\n    @property\n    def log(self):\n        return getLogger('a')\n"
        "    def f(self):\n        self.log.info('x')",
        {"a"},
    ),
    "class name": (
        "class A:\n    def f(self):\n"
        "        getLogger(type(self).__name__).info('x')\nclass B(A):\n    pass",
        {"A", "B"},
    ),
    "class method": (
        "class A:\n    log = getLogger('a')\n    @classmethod\n    def f(cls):\n"
        "        cls.log.info('x')",
        {"a"},
    ),
    "custom class": (
        "class L(logging.Logger):\n    def f(self):\n        self.info('x')",
        {"{...}"},
    ),
    "flask": (
        "from flask import Flask\napp = Flask(__name__)\napp.logger.info('x')",
        {"app.reports"},
    ),
    "flask by request": (
        "from flask import Flask, current_app\ndef make():\n"
        "    return Flask('shop')\ndef f():\n    current_app.logger.info('x')",
        {"shop"},
    ),
    "celery": (
        "from celery.utils.log import get_task_logger\nget_task_logger('t').info('x')",
        {"t"},
    ),
    "recursive": (
        "def make(n):\n    log = getLogger(n)\n    if n:\n        log = wrap(log)\n"
        "    return log\ndef wrap(log):\n    return log\nmake('r').info('x')",
        {"r"},
    ),
}


@pytest.mark.parametrize("name", LOGGERS)
def test_the_logger_of_a_call(name: str) -> None:
    """The names are those that the logger can have when the program runs, and no others."""
    text, expected = LOGGERS[name]
    header = "import logging\nfrom logging import getLogger, LoggerAdapter\n"
    assert names(only(header + text)) == expected


MODULES: dict[str, tuple[dict[str, str], set[str]]] = {
    "a package": ({"app/__init__.py": "", "app/a.py": ""}, {"app.a"}),
    "below src": ({"src/app/__init__.py": "", "src/app/a.py": ""}, {"app.a"}),
    "an init": ({"app/__init__.py": ""}, {"app"}),
    "run by -m": ({"app/__init__.py": "", "app/__main__.py": ""}, {"__main__"}),
    "no package": ({"scripts/a.py": ""}, {"a", "scripts.a"}),
    "below a namespace": (
        {"google/ads/__init__.py": "", "google/ads/a.py": ""},
        {"ads.a", "google.ads.a"},
    ),
    "at the top": ({"a.py": ""}, {"a"}),
    "no identifier": ({"my-scripts/a.py": ""}, {"a"}),
    "a project below": (
        {"one/pyproject.toml": "", "one/app/__init__.py": "", "one/app/a.py": ""},
        {"app.a"},
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_name_of_a_module(name: str) -> None:
    """`__name__` has each name that the module may be imported by."""
    files, expected = MODULES[name]
    *others, last = files
    text = "import logging\nlogging.getLogger(__name__).info('x')"
    assert names(only({**dict.fromkeys(others, ""), last: text})) == expected


def test_imports_show_which_directories_are_on_the_path() -> None:
    """Of the directories that may be, those count from which the source imports its modules."""
    call = only(
        {
            "shop/app/__init__.py": "",
            "shop/app/a.py": "import logging\nlogging.getLogger(__name__).info('x')",
            "shop/app/b.py": "import logging, json, other.c\nfrom app.a import log\n",
        }
    )
    assert names(call) == {"app.a"}


@pytest.mark.parametrize(
    "statement", ["from app import a", "from . import a", "from .a import f", "import app.a", ""]
)
def test_a_script_that_is_imported(statement: str) -> None:
    """A module that could be run has its own name if another one imports it."""
    text = "import logging\nlogging.getLogger(__name__).info('x')\nif __name__ == '__main__': f()"
    call = only(
        {"app/__init__.py": "", "app/a.py": text, "app/b.py": f"{statement}\nimport logging"}
    )
    assert names(call) == ({"app.a"} if statement else {"app.a", "__main__"})


@pytest.mark.parametrize(
    ("statement", "called"),
    [
        ("from app.base import log", "log"),
        ("from app import base", "base.log"),
        ("from . import base", "base.log"),
        ("from .base import log as other", "other"),
        ("from .base import *", "log"),
        ("import app.base", "app.base.log"),
        ("import app.base as b", "b.log"),
        ("from app.again import log", "log"),
        ("from app.base import make; log = make('app.base')", "log"),
        (
            "from app.base import Base\nclass A(Base):\n  pass\nlog = A().log",
            "log",
        ),
    ],
)
def test_a_logger_that_is_imported(statement: str, called: str) -> None:
    """A logger of another module is followed there, by relative imports and through others."""
    call = only(
        {
            "app/__init__.py": "",
            "app/base.py": """
                import logging
                def make(name):
                    return logging.getLogger(name)
                log = make(__name__)
                class Base:
                    log = make("app.base")
                """,
            "app/again.py": "from app.base import log\n",
            "app/a.py": f"{statement}\n{called}.info('x')\n",
        }
    )
    assert names(call) == {"app.base"}
    assert call.certainty == "logger"


def test_stars_that_lead_nowhere() -> None:
    """A name that some star may import is unknown."""
    for text in ("from other import *", "from b import *"):
        call = only({"a.py": f"{text}\nlog.info('x')", "b.py": "from other import *"})
        assert (call.logger, call.certainty) == (UNKNOWN, "likely")


def test_a_star_after_a_binding() -> None:
    """A later star may bind the name anew; an earlier one does not matter."""
    for text, expected in (
        ("log = logging.getLogger('a')\nfrom other import *", {"a", "{...}"}),
        ("from other import *\nlog = logging.getLogger('a')", {"a"}),
    ):
        assert names(only({"a.py": f"import logging\n{text}\nlog.info('x')"})) == expected


def test_names_of_other_modules() -> None:
    """A module's `__name__` is read from outside, too, and relative imports climb."""
    call = only(
        {
            "app/__init__.py": "",
            "app/b.py": "",
            "app/c/__init__.py": "",
            "app/c/a.py": "import logging\nfrom .. import b\nfrom ..b import missing\n"
            "logging.getLogger(b.__name__).info('x')",
        }
    )
    assert names(call) == {"app.b"}


def test_modules_that_import_each_other() -> None:
    """A circle of imports, in which nothing is defined, is unknown."""
    call = only(
        {
            "a.py": "from b import log\nlog.info('x')",
            "b.py": "from c import *",
            "c.py": "from a import log",
        }
    )
    assert call.logger == UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "from a import info\ninfo('x')",
        "audit.frobnicate('x')",
        "getattr(log, 'setLevel')('x')",
        "import math\nmath.log(3)",
        "import warnings\nwarnings.warn('x')",
        "from django.contrib import messages\nmessages.info(request, 'x')",
        "class A:\n    def info(self, text): ...\nA().info('x')",
        "log = {}\nlog.info('x')",
        "import logging\nlogging.getLogger('a').setLevel('INFO')",
        "import logging\nlogging.getLogger('a').info()",
        "def info(text): ...\ninfo('x')",
        "blog.info(request)",
    ],
)
def test_what_is_not_a_log_call(text: str) -> None:
    """A method of the same name is not a log call."""
    assert source_of({"a.py": text}).calls == []


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        ("log.info('x')", "likely"),
        ("self._logger.info('x')", "likely"),
        ("get_logger().info('x')", "likely"),
        ("from other import logger\nlogger.info('x')", "likely"),
        ("audit.info('x')", "unlikely"),
        ("def f(catalog):\n    catalog.info('x')", "unlikely"),
    ],
)
def test_a_receiver_that_is_unknown(text: str, certainty: str) -> None:
    """An unknown receiver is kept as such; its name says how probably it is a logger."""
    call = only({"a.py": text})
    assert (call.certainty, call.logger) == (certainty, UNKNOWN)


MESSAGES = {
    "dunder": ("__doc__", UNKNOWN),
    "added": ("['a'] + ['b']", ["a", "b"]),
    "spread list": ("[*n]", Unknown("array")),
    "made list": ("[one for one in n]", Unknown("array")),
    "sorted": ("sorted(n)", Unknown("array")),
    "product": ("2 * n", UNKNOWN),
    "text of unknown": ("'a'.replace('a', n)", UNKNOWN),
    "wrong method": ("'a'.split('')", UNKNOWN),
    "wrong format": ("'a {'.format(n)", Unknown("string", (None,))),
    "f-string formatted": ("f'a {n}'.format(3)", Unknown("string", ("a ", None))),
    "f-string merged": ("f'a {n} %s' % n", Unknown("string", ("a ", None, " ", None))),
    "lambda": ("(lambda: 'a')()", "a"),
    "literal": ("'sold %s', 3", "sold %s"),
    "joined": ("'sold ' 'it'", "sold it"),
    "sum": ("'sold ' + 'it'", "sold it"),
    "constant": ("TEXT", "sold"),
    "f-string": ("f'sold {n} of {n!r}'", Unknown("string", ("sold ", None, " of ", None))),
    "known f-string": ("f'{TEXT} %s'", "sold %s"),
    "formatted": ("'sold {} {{x}}'.format(n)", Unknown("string", ("sold ", None, " {x}"))),
    "merged": ("'sold %d%% of %(a)s' % n", Unknown("string", ("sold ", None, "% of ", None))),
    "sum with unknown": ("'sold ' + n", Unknown("string", ("sold ", None))),
    "text": ("str(n)", Unknown("string", (None,))),
    "translated": ("_('sold')", UNKNOWN),
    "several": ("'a' if n else 'b'", Either(("a", "b"))),
    "keyword": ("msg='sold'", "sold"),
    "stars": ("*args", UNKNOWN),
    "any": ("**kwargs", UNKNOWN),
    "number": ("-5", -5),
    "changed": ("CHANGED", Either(("a", "b"))),
    "list": ("' '.join(n)", UNKNOWN),
    "method": ("'SOLD'.lower()", "sold"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_message(name: str) -> None:
    """A message is known as far as the source says, unformatted."""
    given, expected = MESSAGES[name]
    call = only(
        "import logging\nTEXT = 'sold'\nCHANGED = 'a'\nCHANGED = 'b'\n"
        f"def f(n, args, kwargs):\n    logging.info({given})\n"
    )
    assert call.message == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("'x'", ()),
        ("'x', 1, 'a'", (1, "a")),
        ("'x', n, True", (UNKNOWN, True)),
        ("'x', len(n)", (Unknown("integer"),)),
        ("'x', n > 3, not n", (Unknown("boolean"), Unknown("boolean"))),
        ("'x', *n", None),
        ("'x', {'a': 1}", Items({"a": 1})),
        ("'x', {}", (Items({}),)),
        ("'x', n", (UNKNOWN,)),
        ("'x', exc_info=True", ()),
    ],
)
def test_the_arguments(given: str, expected: Any) -> None:
    """Arguments are counted, and known if they are literal; a single mapping stands for itself."""
    call = only(f"import logging\ndef f(n):\n    logging.info({given})\n")
    assert call.args == expected


@pytest.mark.parametrize(
    ("method", "level"),
    [
        ("debug('x')", 10),
        ("warn('x')", 30),
        ("exception('x')", 40),
        ("log(25, 'x')", 25),
        ("log(logging.INFO, 'x')", 20),
        ("log(logging.INFO + 5, 'x')", 25),
        ("log(logging.INFO * 2, 'x')", None),
        ("log(level, 'x')", None),
        ("log(level=10, msg='x')", 10),
    ],
)
def test_the_level(method: str, level: int | None) -> None:
    """The level is the method's, or the argument of `log`."""
    call = only(f"import logging\nlogging.{method}\n")
    assert (call.level, call.message) == (level, "x")


EXTRAS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "changed inside": (
        "e = {'a': [1], 'b': 2}\ne['a'].append(2)\nlog.info('x', extra=e)",
        {"a": Unknown("array"), "b": 2},
        False,
    ),
    "made": ("log.info('x', extra={a: 1 for a in n})", {}, True),
    "copied": ("e = {'a': 1}\nlog.info('x', extra=e.copy())", {"a": 1}, False),
    "compared": (
        "e = {'a': 1}\nif 'a' in e: print(len(e))\nlog.info('x', extra=e)",
        {"a": 1},
        False,
    ),
    "none": ("log.info('x')", {}, False),
    "typed": ("log.info('x', extra=Sold(action='a', b=n))", {"action": "a", "b": UNKNOWN}, False),
    "typed in part": ("log.info('x', extra=Sold(action='a', **n))", {"action": "a"}, True),
    "literal": ("log.info('x', extra={'a': 1, 'b': [2, n]})", {"a": 1, "b": [2, UNKNOWN]}, False),
    "dict": ("log.info('x', extra=dict(a=1, **{'b': 2}))", {"a": 1, "b": 2}, False),
    "merged": ("e = {'a': 1}\nlog.info('x', extra={**e, 'b': 2})", {"a": 1, "b": 2}, False),
    "union": ("e = {'a': 1}\nlog.info('x', extra=e | {'b': 2})", {"a": 1, "b": 2}, False),
    "name": ("e = {'a': 1}\nlog.info('x', extra=e)", {"a": 1}, False),
    "nested": (
        "log.info('x', extra={'event': {'action': 'a'}})",
        {"event": {"action": "a"}},
        False,
    ),
    "added": (
        "e = {'a': 1}\ne['b'] = 2\nlog.info('x', extra=e)",
        {"a": 1, "b": Unknown(may_be_absent=True)},
        False,
    ),
    "changed": ("e = {'a': 1}\ne.update(n)\nlog.info('x', extra=e)", {"a": 1}, True),
    "passed on": ("e = {'a': 1}\nchange(e)\nlog.info('x', extra=e)", {"a": 1}, True),
    "read": ("e = {'a': 1}\nprint(e['a'], e.get('b'))\nlog.info('x', extra=e)", {"a": 1}, False),
    "unknown": ("log.info('x', extra=n)", {}, True),
    "unknown part": ("log.info('x', extra={**n, 'b': 2})", {"b": 2}, True),
    "unknown key": ("log.info('x', extra={n: 1, 'b': 2})", {"b": 2}, True),
    "stars": ("log.info('x', **n)", {}, True),
    "explicitly none": ("log.info('x', extra=None)", {}, False),
    "adapter": ("LoggerAdapter(log, {'a': 1}).info('x', extra={'b': 2})", {"a": 1}, False),
    "adapter with nothing": ("LoggerAdapter(log).info('x', extra={'b': 2})", {}, False),
    "merging adapter": ("LoggerAdapter(log, {'a': 1}, merge_extra=True).info('x')", {}, True),
}


@pytest.mark.parametrize("name", EXTRAS)
def test_the_extras(name: str) -> None:
    """Extras are known if the dict is, with what is added to it; any other use makes them open."""
    text, expected, is_open = EXTRAS[name]
    call = only(
        "import logging\nfrom logging import LoggerAdapter\nfrom typing import TypedDict\n"
        "class Required(TypedDict): action: str\nclass Sold(Required, total=False): b: int\n"
        "log = logging.getLogger('a')\ndef f(n, change):\n"
        + "".join(f"    {line}\n" for line in text.split("\n"))
    )
    assert (dict(call.extras), call.extras.is_open) == (expected, is_open)


def test_an_adapter_of_the_application() -> None:
    """An adapter that overrides `process` may change message and extras; its logger is known."""
    call = only(
        """
        import logging
        class Tagged(logging.LoggerAdapter):
            def process(self, msg, kwargs):
                return f"[x] {msg}", kwargs
        Tagged(logging.getLogger("a"), {}).info("x")
        """
    )
    assert (call.logger, call.message, call.extras.is_open) == ("a", UNKNOWN, True)


def test_an_adapter_without_changes() -> None:
    """A subclass that changes nothing is like LoggerAdapter itself."""
    call = only(
        """
        import logging
        class Tagged(logging.LoggerAdapter):
            pass
        Tagged(logging.getLogger("a"), {"b": 1}).info("x")
        """
    )
    assert (call.logger, call.message, call.extras) == ("a", "x", {"b": 1})


def test_comments() -> None:
    """A comment names the event of a call; anything else after `fslog:` is malformed."""
    source = source_of(
        {
            "a.py": """
                log.info(text)  # fslog: event="report exported"
                # fslog: event='time in reports'
                # fslog: evnt="x"
                text = "# fslog: event='no comment'"
                """
        }
    )
    assert [(one.line, one.event) for one in source.comments] == [
        (2, "report exported"),
        (3, "time in reports"),
        (4, None),
    ]


def test_names_that_context_binds() -> None:
    """The names of properties that `fslog.context` binds are found."""
    source = source_of({"a.py": "import fslog, logging\nfslog.context.bind(accountId=1, plan=x)\n"})
    assert source.bound == {"accountId", "plan"}


OWN = {
    "a block": (
        "from fslog import context\nwith context.module('reports'):\n    pass",
        {"action": "moduleEnd", "module": "reports", "timeSpent": Unknown("integer")},
    ),
    "a decorator": (
        "import fslog.context\n@fslog.context.module('jobs', product='core', clock=f)\n"
        "def run(): pass",
        {
            "action": "moduleEnd",
            "module": "jobs",
            "product": "core",
            "timeSpent": Unknown("integer"),
        },
    ),
    "a computed name": (
        "from fslog.context import module as timed\nasync def f(name):\n"
        "    async with g(), timed(name): pass",
        {"action": "moduleEnd", "module": UNKNOWN, "timeSpent": Unknown("integer")},
    ),
    "a user": (
        "import fslog\nfslog.identify_user('u', 'a', name='Ann', role=None, plan=3)",
        {
            "action": "identifyUser",
            "userId": "u",
            "accountId": "a",
            "details": {"name": "Ann", "plan": 3},
        },
    ),
    "an account": (
        "from fslog import identify_account as about\nabout(accountId='a', **more)",
        {"action": "identifyAccount", "accountId": "a", "details": {}},
    ),
    "arguments that are unknown": (
        "from fslog.identify import identify_user\nidentify_user('u', *ids)",
        {"action": "identifyUser", "userId": "u", "accountId": UNKNOWN, "details": {}},
    ),
    "a detail that is called clock": (
        "import fslog\nfslog.identify_user('u', 'a', clock=5)",
        {
            "action": "identifyUser",
            "userId": "u",
            "accountId": "a",
            "details": {"clock": 5},
        },
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_fslogs_own_functions(name: str) -> None:
    """What they log is known without a logger in the file: the event, and the logger's name."""
    source, event = OWN[name]
    call = only({"app.py": source})
    assert (call.certainty, call.logger, call.level) == ("logger", "fslog.events", 20)
    assert call.extras == {"event": event}
    found = call.extras["event"]
    assert found.is_open is found.get("details", found).is_open is ("**" in source)


def test_a_function_of_fslogs_that_may_be_missing() -> None:
    """What is imported if fslog is installed is probably fslog's."""
    call = only(
        {
            "app.py": """
            try:
                from fslog import context
            except ImportError:
                context = None
            def f(product=None):
                with context.module("reports", product=product):
                    pass
            """
        }
    )
    assert call.certainty == "likely"
    assert call.extras["event"].keys() == {"action", "module", "timeSpent"}
    assert call.extras["event"].is_open  # a product that is None is left out


def test_what_context_module_binds() -> None:
    """A log call in the block has the module and the product."""
    source = "from fslog import context\n@context.module('jobs', product='core')\ndef f(): pass"
    assert source_of({"app.py": source}).bound == {"module", "product"}
    assert source_of({"app.py": "from other import context\ncontext.module('x')"}).bound == set()


@pytest.mark.parametrize(
    "source",
    [
        "from elsewhere import context\nwith context.module('reports'): pass",
        "def identify_user(*ids): pass\nidentify_user('u', 'a')",
        "import fslog\nfslog.module('x')",
        "from fslog import context\ncontext.module",
    ],
)
def test_functions_of_such_names_that_are_not_fslogs(source: str) -> None:
    """A name alone makes no event."""
    assert source_of({"app.py": source}).calls == []


def test_what_fslogs_own_functions_log_is_what_the_source_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The calls, made in truth, have the logger, the level, the message and the event."""
    source = """
        import fslog
        from fslog import context
        def clock(times=[0.0, 2.0]):
            return times.pop(0)
        with context.bound(userId="u", accountId="a"), context.module("reports", clock=clock):
            pass
        fslog.identify_user("u", "a", name="Ann")
        fslog.identify_account("a", userId="u", tier="gold")
        """
    calls = source_of({"app.py": source}).calls
    caplog.set_level("INFO", "fslog.events")
    exec(dedent(source), {})
    records = caplog.records
    assert [one.name for one in records] == [one.logger for one in calls]
    assert [one.levelno for one in records] == [one.level for one in calls]
    assert [(one.msg, one.args) for one in records] == [(one.message, one.args) for one in calls]
    events = [dict(vars(one)["event"]) for one in records]
    found = [dict(one.extras["event"]) for one in calls]
    assert (events[0].pop("timeSpent"), found[0].pop("timeSpent")) == (2000, Unknown("integer"))
    assert events == found


def test_files_that_are_left_out() -> None:
    """Virtual environments, caches and hidden directories are not read, nor a file twice."""
    source = source_of(
        {
            "a.py": "log.info('a')",
            "venv/pyvenv.cfg": "",
            "venv/b.py": "log.info('b')",
            ".tox/c.py": "log.info('c')",
            "__pycache__/d.py": "log.info('d')",
        }
    )
    assert [one.place for one in source.calls] == ["a.py:1"]
    assert len(read(["a.py", "."]).calls) == 1


@pytest.mark.parametrize("path", ["missing", "a.txt"])
def test_a_path_that_is_not_source(path: str) -> None:
    """A path that does not exist, or is not Python, is an error that names it."""
    Path("a.txt").write_text("x", encoding="utf-8")
    with pytest.raises(CommandError, match=path):
        read([path])


def test_files_that_python_cannot_parse() -> None:
    """A file with a syntax error, or a null byte, is reported; the others are read."""
    Path("gone.py").symlink_to("nowhere")
    Path("null.py").write_bytes(b"log.info(1)\0")
    Path("latin.py").write_bytes("# coding: latin-1\nlog.info('é')\n".encode("latin-1"))
    Path("wrong.py").write_bytes("log.info('é')\n".encode("latin-1"))
    source = source_of({"error.py": "log.info(\n"})
    assert [one.path for one in source.unparsed] == ["error.py", "gone.py", "null.py", "wrong.py"]
    assert source.unparsed[0].reason.startswith("line 1: ")
    assert [one.message for one in source.calls] == ["é"]


def test_every_kind_of_binding_is_known() -> None:
    """No statement that binds a name leaves an older value of it."""
    binds = [
        "for log in x: pass",
        "with x as log: pass",
        "log += 1",
        "del log",
        "log, a = x",
        "[log] = x",
        "(*log, a) = x",
        "try: pass\nexcept E as log: pass",
        "match x:\n    case [log, *b]: pass",
        "match x:\n    case {'a': 1, **log}: pass",
        "match x:\n    case [*log]: pass",
        "import log",
        "from x import log",
        "from x import log.a as log".replace("log.a", "a"),
        "def log(): pass",
        "class log: pass",
        "async def log(): pass",
        "if (log := x): pass",
        "log: int = x",
        "[0 for a in x if (log := a)]",
        "def f():\n    global log\n    log = x",
        "def f():\n    if x:\n        global log\n        for log in x: pass",
    ]
    for number, bind in enumerate(binds):
        text = f"import logging\nlog = logging.getLogger('a')\n{bind}\nlog.info('x')\n"
        found = source_of({f"m{number}.py": text}).calls
        assert [one for one in found if one.path == f"m{number}.py" and one.logger == "a"] == []


def test_deep_nesting_has_no_traceback() -> None:
    """An expression that is nested deeply, or refers to many others, is unknown."""
    chain = "".join(f"v{n} = v{n + 1} or v{n + 2}\n" for n in range(200))
    call = only(
        {
            "a.py": f"import logging\n{chain}logging.info(v0)\nx = {'(' * 80}1{')' * 80}\n"
            f"y = {' + '.join(['x'] * 900)}\n"
        }
    )
    assert call.message == UNKNOWN


def test_any_python_file_can_be_read() -> None:
    """Files of the standard library, its tests included, give calls or nothing, and no error."""
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(library.glob("*.py")) + sorted(library.glob("test/test_*.py"))
    chosen = random.Random(14).sample(files, 15)
    source = read([str(path) for path in chosen])
    assert source.files == len(chosen)
    assert source.unparsed == []


@pytest.mark.slow
def test_the_whole_standard_library_can_be_read() -> None:
    """Whatever Python can parse is read, including its own tests of the grammar."""
    library = Path(sysconfig.get_path("stdlib"))
    source = read([str(library)])
    assert source.files > 500
    assert len(source.calls) > 300
    for path, _ in source.unparsed:
        with pytest.raises((SyntaxError, ValueError)):
            ast.parse(Path(path).read_bytes())


@pytest.mark.timing
def test_half_a_million_lines_take_seconds() -> None:
    """Source is read at a rate of half a million lines in less than 20 seconds of one core."""
    library = Path(sysconfig.get_path("stdlib"))
    files = [path for path in library.rglob("*.py") if "site-packages" not in path.parts]
    lines = sum(path.read_bytes().count(b"\n") for path in files)
    begin = time.process_time()
    read([str(library)])
    seconds = time.process_time() - begin
    assert seconds < 20 * lines / 500_000
