"""Where a logging configuration stands: a file, or a name in a module, perhaps below a key.

A module is imported, and a Python file run, as the application would do it: what it does besides is
its own business. What it does to logging meanwhile is rehearsed only, see
`fslog.cli.check.rehearsal`.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import pkgutil
import re
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from traceback import walk_tb
from typing import Any

from fslog.cli.check import mistakes
from fslog.cli.options import CommandError

NAMES = ("LOGGING", "LOGGING_CONFIG", "logconfig_dict", "log_config")
"""What a configuration is called in a module of which no name is given."""

_MAX_DEPTH = 6
_SECTIONS = ("handlers", "loggers", "root", "formatters", "filters", "incremental")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.\w+)*)?")
_PYTHON_FILE = re.compile(r"(?P<path>.+\.py)(:(?P<name>[\w.]+))?")


class NoConfiguration(CommandError):
    """Say why there is no configuration to look at.

    Args:
        message: what is wrong, and what to do.
        is_argument: whether the argument is wrong, rather than what it leads to.
    """

    def __init__(self, message: str, *, is_argument: bool = False) -> None:
        super().__init__(message, 2 if is_argument else 1)


@dataclass(frozen=True)
class Source:
    """A configuration as it was found.

    Args:
        label: where, in words.
        given: a mapping as for `dictConfig`, or an ini file's sections.
        is_file: whether it stands in a file, rather than in a program.
        name: what it is called in its module; empty where it stands in none.
        scope: that module's names.
    """

    label: str
    given: Any
    is_file: bool = True
    name: str = ""
    scope: Mapping[str, Any] = field(default_factory=dict)


def load(text: str, key: str | None = None) -> Source:
    """Find a configuration.

    Args:
        text: a file's path, `FILE.py:NAME`, `package.module` or `package.module:NAME.OF.IT`.
        key: names of mappings, from the outside in, joined by dots; None looks for it.

    Raises:
        NoConfiguration: there is none.
    """
    found, name, scope = _read(text)
    if isinstance(found, configparser.RawConfigParser):
        if key is not None:
            raise NoConfiguration(
                "--key: an ini file has no keys below which it could stand", is_argument=True
            )
        return Source(f"{text}, in the format of fileConfig", found)
    if not isinstance(found, Mapping):
        raise NoConfiguration(f"{text} holds a {type(found).__name__}; expected a mapping")
    path, found = _below(found, key.split(".")) if key else _located(found)
    where = f"{text}, at {'.'.join(path)}" if path else text
    is_file = os.path.isfile(text) and not text.endswith(".py")
    name = name if not path else ""  # below a key it is not what it is called
    return Source(f"{where}, in the format of dictConfig", found, is_file, name, scope)


@contextlib.contextmanager
def application() -> Iterator[None]:
    """Let the application's modules be found, from here on, and keep what they print apart.

    They are looked for in the current directory first, as by `python -m`, and what they write to
    stdout goes to stderr.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    with contextlib.redirect_stdout(sys.stderr):
        yield


_Found = tuple[Any, str, Mapping[str, Any]]
"""A configuration, what it is called in its module, and the module's names."""


def _read(text: str) -> _Found:
    if os.path.isfile(text):
        ending = os.path.splitext(text)[1].lower()
        if ending == ".py":
            return _of_names(_run(text), text)
        if ending not in _READERS:
            known = ", ".join(_READERS)
            raise NoConfiguration(
                f"{text} has an ending that says nothing; expected {known}, or .py",
                is_argument=True,
            )
        return _READERS[ending](text), "", {}
    found = _PYTHON_FILE.fullmatch(text)
    if found and os.path.isfile(found["path"]):
        return _named(_run(found["path"]), found["name"], text)
    if found or os.sep in text or os.path.splitext(text)[1].lower() in _READERS:
        raise NoConfiguration(f"there is no file {text}", is_argument=True)
    if not _MODULE.fullmatch(text):
        raise NoConfiguration(
            f"{text!r} is no file, and no name such as package.module:LOGGING", is_argument=True
        )
    return _imported(text)


def _imported(text: str) -> _Found:
    module, _, name = text.partition(":")
    scope = vars(_guarded(lambda: _module(module), f"importing {module}"))
    return _named(scope, name, text) if name else _of_names(scope, module)


def _named(scope: Mapping[str, Any], name: str, where: str) -> _Found:
    names = name.split(".")
    return _walk(scope, names, where), names[-1], scope


def _module(name: str) -> Any:
    try:
        return pkgutil.resolve_name(f"{name}:")
    except ModuleNotFoundError as error:
        # One of another name is missing inside of a module that is there.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise NoConfiguration(f"importing {name} failed: {error}", is_argument=True) from None
    except ImportError as error:
        host = _host(name, error)
        if host is None:
            raise
        pkgutil.resolve_name(f"{host}:")
        return pkgutil.resolve_name(f"{name}:")


def _host(name: str, error: ImportError) -> str | None:
    """Return the package that must be imported first: it loads the module itself, as Airflow does.

    Else the module's own imports lead back to itself, which is not complete by then.
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
    except NoConfiguration:
        raise
    except (Exception, SystemExit) as error:
        raise NoConfiguration(f"{what} failed: {type(error).__name__}: {error}") from None


def _of_names(scope: Mapping[str, Any], where: str) -> _Found:
    for name in NAMES:
        if isinstance(scope.get(name), Mapping):
            return scope[name], name, scope
    raise NoConfiguration(
        f"{where} has no mapping of the name {', '.join(NAMES)}; say which: {where}:NAME",
        is_argument=True,
    )


def _walk(found: Any, names: list[str], where: str) -> Any:
    for at, name in enumerate(names):
        try:
            found = found[name] if isinstance(found, Mapping) else getattr(found, name)
        except (KeyError, AttributeError):
            before = ".".join(names[:at]) or "it"
            raise NoConfiguration(f"{where}: {before} has no {name}", is_argument=True) from None
        except Exception as error:  # Django's settings, say, that are not configured
            raise NoConfiguration(f"{where}: {type(error).__name__}: {error}") from None
    return found


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except OSError as error:
        raise NoConfiguration(
            f"{path} cannot be read: {error.strerror}", is_argument=True
        ) from None
    except ValueError:
        raise NoConfiguration(f"{path} is not UTF-8") from None


def _json(path: str) -> Any:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise NoConfiguration(f"{path} is no JSON: {error}") from None


def _yaml(path: str) -> Any:
    parse = _optional("yaml:safe_load", "YAML needs PyYAML: pip install PyYAML")
    try:
        return parse(_text(path))
    except NoConfiguration:
        raise
    except Exception as error:  # yaml's own kinds, which have no name here
        raise NoConfiguration(f"{path} is no YAML: {mistakes.of_yaml(error)}") from None


def _toml(path: str) -> Any:
    parse = _optional("tomllib:loads", "TOML needs Python 3.11 or newer")
    try:
        return parse(_text(path))
    except (ValueError, RecursionError) as error:
        raise NoConfiguration(f"{path} is no TOML: {error}") from None


def _optional(name: str, remedy: str) -> Any:
    """Return something of a module that not every environment has, and fslog does not need."""
    try:
        return pkgutil.resolve_name(name)
    except ImportError:
        raise NoConfiguration(remedy, is_argument=True) from None


def _ini(path: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()  # as fileConfig makes it
    try:
        parser.read_string(_text(path), path)
    except configparser.Error as error:
        raise NoConfiguration(f"{path} is no ini file: {mistakes.of_ini(error)}") from None
    missing = [
        name for name in ("loggers", "handlers", "formatters") if not parser.has_section(name)
    ]
    if missing:
        raise NoConfiguration(f"{path} has no section [{min(missing)}], which fileConfig needs")
    return parser


_READERS: dict[str, Callable[[str], Any]] = {
    ".json": _json,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".toml": _toml,
    ".ini": _ini,
    ".cfg": _ini,
    ".conf": _ini,
}


def _below(found: Any, names: list[str]) -> tuple[list[str], Any]:
    for at, name in enumerate(names):
        if not isinstance(found, Mapping) or name not in found:
            where = ".".join(names[:at]) or "the top level"
            raise NoConfiguration(f"{where} has no key {name!r}", is_argument=True)
        found = found[name]
    if not isinstance(found, Mapping):
        raise NoConfiguration(f"{'.'.join(names)} is no mapping", is_argument=True)
    return names, found


def _located(found: Mapping[str, Any]) -> tuple[list[str], Any]:
    """Return the one configuration in a mapping, with the keys that lead to it.

    >>> _located({"app": {"logging": {"version": 1, "handlers": {}}}})[0]
    ['app', 'logging']
    """
    complete = [one for one in _candidates(found, []) if "version" in one[1]]
    if len(complete) > 1:
        paths = ", ".join(".".join(path) or "the top level" for path, _ in complete)
        raise NoConfiguration(f"there are several configurations ({paths}): say which by --key")
    if complete:
        return complete[0]
    for one in _candidates(found, []):  # without a version, which will be said
        return one
    raise NoConfiguration("there is no logging configuration in it: no mapping with handlers")


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
