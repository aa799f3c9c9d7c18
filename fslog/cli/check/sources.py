"""Where a logging configuration is found: a file, or a name in a module, perhaps below a key.

A module is imported, and a Python file run, as the application would; its side effects are its own,
except those on `logging`, which `dry_run` prevents.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import pkgutil
import re
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from traceback import walk_tb
from typing import Any, NamedTuple

from fslog.cli.options import CommandError

NAMES = ("LOGGING", "LOGGING_CONFIG", "logconfig_dict", "log_config")
"""The variables in which a configuration is searched for if no name is given."""

_MAX_DEPTH = 6
_SECTIONS = ("handlers", "loggers", "root", "formatters", "filters", "incremental")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.\w+)*)?")
_PYTHON_FILE = re.compile(r"(?P<path>.+\.py)(:(?P<name>[\w.]+))?")
_QUOTED = re.compile(r"\"[^\"]*\"|'(?:\\.|[^'\\])*'")
_KIND = re.compile(r"<[a-z -]+>")
_PUNCTUATION_CHARACTERS = 2
"""A longer quotation may be a word of the file; up to this length it is a missing bracket."""


class SourceError(Exception):
    """Report why a configuration cannot be loaded, although the argument is valid."""


class ConfigSource(NamedTuple):
    """A configuration as it was found.

    Args:
        given: a mapping for `dictConfig`, or the sections of an ini file.
        name: of the variable that holds it; empty if none does.
        scope: the names of the module; empty for a data file.
    """

    given: Any
    name: str
    scope: Mapping[str, Any]


def load(text: str, key: str | None = None) -> tuple[str, ConfigSource]:
    """Return where a configuration was found, with its format, and the configuration.

    Args:
        text: a file's path, `FILE.py:NAME`, `package.module` or `package.module:NAME.OF.IT`.
        key: names of nested mappings, joined by dots; None searches for the configuration.

    Raises:
        CommandError: an argument is invalid.
        SourceError: what it refers to is not a configuration, or cannot be read.
    """
    source = _read(text)
    found = source.given
    if isinstance(found, configparser.RawConfigParser):
        if key is not None:
            raise CommandError("--key: an ini file has no keys to search below")
        return f"{text} (fileConfig)", source
    if not isinstance(found, Mapping):
        raise SourceError(f"{text} contains a {type(found).__name__}; expected a mapping")
    path, found = _below(found, key.split(".")) if key else _located(found)
    if not path:
        return f"{text} (dictConfig)", source
    # Below a key, the variable holds something else.
    return f"{text}, at {'.'.join(path)} (dictConfig)", source._replace(given=found, name="")


@contextlib.contextmanager
def application() -> Iterator[None]:
    """Make the application's modules importable, and redirect what they print to stderr.

    The current directory comes first on the path, as with `python -m`, and stays there.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _read(text: str) -> ConfigSource:
    extension = os.path.splitext(text)[1].lower()
    if os.path.isfile(text):
        if extension == ".py":
            return _in_scope(_run(text), text)
        if extension not in _READERS:
            known = ", ".join(_READERS)
            raise CommandError(f"{text} has an unknown extension; expected {known}, or .py")
        return ConfigSource(_READERS[extension](text), "", {})
    found = _PYTHON_FILE.fullmatch(text)
    if found and os.path.isfile(found["path"]):
        return _named(_run(found["path"]), found["name"], text)
    if found or os.sep in text or extension in _READERS:
        raise CommandError(f"no such file: {text}")
    if not _MODULE.fullmatch(text):
        raise CommandError(f"{text!r} is neither a file nor a name such as package.module:LOGGING")
    module, _, name = text.partition(":")
    scope = vars(_guarded(lambda: _module(module), f"importing {module}"))
    return _named(scope, name, text) if name else _in_scope(scope, module)


def _module(name: str) -> Any:
    try:
        return pkgutil.resolve_name(f"{name}:")
    except ModuleNotFoundError as error:
        # A different name is missing inside the module, which itself exists.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise CommandError(f"importing {name} failed: {error}") from None
    except ImportError as error:
        host = _host(name, error)
        if host is None:
            raise
        pkgutil.resolve_name(f"{host}:")
        return pkgutil.resolve_name(f"{name}:")


def _host(name: str, error: ImportError) -> str | None:
    """Return the package that must be imported first, since it imports the module: Airflow does.

    Otherwise the module's own imports lead back to itself before it is complete.
    """
    frames = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    behind = frames[frames.index(name) + 1 :] if name in frames else []
    for found in behind:
        package = found.partition(".")[0]
        if package not in ("importlib", name.partition(".")[0]):
            return package if name in str(error) else None
    return None


def _run(path: str) -> Any:
    return _guarded(lambda: runpy.run_path(path), f"running {path}")


def _guarded(act: Callable[[], Any], what: str) -> Any:
    try:
        return act()
    except CommandError:
        raise
    except (Exception, SystemExit) as error:
        raise SourceError(f"{what} failed: {type(error).__name__}: {error}") from None


def _in_scope(scope: Mapping[str, Any], where: str) -> ConfigSource:
    for name in NAMES:
        if isinstance(scope.get(name), Mapping):
            return ConfigSource(scope[name], name, scope)
    names = ", ".join(NAMES)
    raise CommandError(f"{where} has no mapping named {names}; name another with {where}:NAME")


def _named(scope: Mapping[str, Any], path: str, where: str) -> ConfigSource:
    found: Any = scope
    names = path.split(".")
    for at, name in enumerate(names):
        try:
            found = found[name] if isinstance(found, Mapping) else getattr(found, name)
        except (KeyError, AttributeError):
            before = ".".join(names[:at]) or "the module"
            raise CommandError(f"{where}: {before} has no {name}") from None
        except Exception as error:  # for example Django's settings, if not configured
            raise SourceError(f"{where}: {type(error).__name__}: {error}") from None
    return ConfigSource(found, names[-1], scope)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise SourceError(f"{path} is not UTF-8") from None


def _parsed(kind: str, parser: str, remedy: str, path: str) -> Any:
    try:
        parse = pkgutil.resolve_name(parser)
    except ImportError:
        raise CommandError(f"{kind} needs {remedy}") from None
    text = _text(path)
    try:
        return parse(text)
    except Exception as error:  # PyYAML may be missing, so its exceptions cannot be named
        reason = yaml_error(error) if kind == "YAML" else error
        raise SourceError(f"{path} is not valid {kind}: {reason}") from None


def _ini(path: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()  # as in fileConfig
    try:
        parser.read_string(_text(path), path)
    except configparser.Error as error:
        raise SourceError(f"{path} is not a valid ini file: {ini_error(error)}") from None
    for name in ("formatters", "handlers", "loggers"):
        if not parser.has_section(name):
            raise SourceError(f"{path} has no section [{name}], which fileConfig requires")
    return parser


_yaml = partial(_parsed, "YAML", "yaml:safe_load", "PyYAML: pip install PyYAML")
_READERS: dict[str, Callable[[str], Any]] = {
    ".json": partial(_parsed, "JSON", "json:loads", "Python"),
    ".yaml": _yaml,
    ".yml": _yaml,
    ".toml": partial(_parsed, "TOML", "tomllib:loads", "Python 3.11 or newer"),
    ".ini": _ini,
    ".cfg": _ini,
    ".conf": _ini,
}


def _below(found: Any, names: list[str]) -> tuple[list[str], Any]:
    for at, name in enumerate(names):
        if not isinstance(found, Mapping) or name not in found:
            where = ".".join(names[:at]) or "the top level"
            raise CommandError(f"{where} has no key {name!r}")
        found = found[name]
    if not isinstance(found, Mapping):
        raise CommandError(f"{'.'.join(names)} is not a mapping")
    return names, found


def _located(found: Mapping[str, Any]) -> tuple[list[str], Any]:
    """Return the only configuration in a mapping, with the keys that lead to it.

    >>> _located({"app": {"logging": {"version": 1, "handlers": {}}}})[0]
    ['app', 'logging']
    """
    candidates = list(_candidates(found, []))
    if not candidates:
        raise SourceError("no logging configuration found: expected a mapping with handlers")
    complete = [one for one in candidates if "version" in one[1]]
    if len(complete) > 1:
        paths = ", ".join(".".join(path) or "the top level" for path, _ in complete)
        raise SourceError(f"found several configurations ({paths}): choose one with --key")
    return (complete or candidates)[0]  # the missing version is reported later


def _candidates(
    found: Mapping[Any, Any], path: list[str]
) -> Iterator[tuple[list[str], Mapping[str, Any]]]:
    if any(isinstance(found.get(name), Mapping) for name in _SECTIONS):
        yield path, found
        return
    if len(path) < _MAX_DEPTH:
        for key, value in found.items():
            if isinstance(value, Mapping):
                yield from _candidates(value, [*path, str(key)])


def without_quotes(message: str) -> str:
    """Return a parser's message without what it quotes, which may hold a key.

    Punctuation, and the kinds of things, stay.

    >>> without_quotes("expected ',' or '}', but got '<scalar>'")
    "expected ',' or '}', but got '<scalar>'"
    >>> without_quotes("found undefined alias 's3cret'")
    "found undefined alias '...'"
    """

    def replace(quoted: re.Match[str]) -> str:
        text = quoted[0][1:-1]
        is_shown = len(text) <= _PUNCTUATION_CHARACTERS or _KIND.fullmatch(text)
        return quoted[0] if is_shown else "'...'"

    return _QUOTED.sub(replace, message)


def yaml_error(error: Exception) -> str:
    """Return where a YAML parser failed, and why, without any of the file's text."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    context, begin = getattr(error, "context", None), getattr(error, "context_mark", None)
    text = without_quotes(problem) if isinstance(problem, str) else type(error).__name__
    if isinstance(context, str):
        text += f", {without_quotes(context)}" + (f", from {_place(begin)} on" if begin else "")
    return f"{_place(mark)}: {text}" if mark else text


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def ini_error(error: configparser.Error) -> str:
    """Return where an ini file is invalid, and why, without any of its text."""
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} precedes the first [section]"
    if isinstance(error, configparser.ParsingError):
        # Not all of its subclasses have both attributes.
        numbers = [number for number, _ in getattr(error, "errors", ())]
        lines = ", ".join(map(str, numbers or [getattr(error, "lineno", "unknown")]))
        return f"line {lines}: expected [section] or name=value; indent continuation lines"
    return str(error)
