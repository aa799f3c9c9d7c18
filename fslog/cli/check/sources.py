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
from collections.abc import Callable, Iterator, Mapping, Sequence
from traceback import walk_tb
from typing import Any, NamedTuple

from fslog.cli.check import frameworks
from fslog.cli.check.frameworks import is_trait
from fslog.cli.options import CommandError
from fslog.config.files import READERS, FileError, SourceError, located, text_of

NAMES = ("LOGGING", "LOGGING_CONFIG", "logconfig_dict", "log_config")
"""The variables in which a configuration is searched for if no name is given."""

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.\w+)*)?")
_PYTHON_FILE = re.compile(r"(?P<path>.+\.py)(:(?P<name>[\w.]+))?")


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
    if frameworks.is_hypercorn(source.scope):
        source = source._replace(name="")  # by its name, it would be gunicorn's
    found = source.given
    if isinstance(found, configparser.RawConfigParser):
        if key is not None:
            raise CommandError("--key: an ini file has no keys to search below")
        return f"{text} (fileConfig)", source
    if not isinstance(found, Mapping):
        raise SourceError(f"{text} contains a {type(found).__name__}; expected a mapping")
    path, found = _below(found, key.split(".")) if key else located(found, "choose one with --key")
    if not path:
        return f"{text} (dictConfig)", source
    # Below a key, the variable holds something else.
    name = _trait(path)
    return f"{text}, at {'.'.join(path)} (dictConfig)", source._replace(given=found, name=name)


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
        try:
            return ConfigSource(_READERS[extension](text), "", {})
        except FileError as error:
            raise CommandError(str(error)) from None
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
    traits = _Traits()
    names = {"c": traits, "get_config": lambda: traits}
    return _guarded(lambda: runpy.run_path(path, names), f"running {path}")


class _Traits(dict[str, Any]):
    """What a configuration file of Jupyter calls `c`: `c.ServerApp.port = 8888`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.setdefault(name, _Traits())

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def _trait(path: Sequence[str]) -> str:
    """Return the last two of some keys if they are an application of Jupyter and its trait."""
    name = ".".join(path[-2:])
    return name if is_trait(name) else ""


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
    if isinstance(scope.get("c"), _Traits):
        for application, traits in scope["c"].items():
            if isinstance(traits, _Traits) and isinstance(traits.get("logging_config"), Mapping):
                name = f"{application}.logging_config"
                return ConfigSource(traits["logging_config"], name, scope)
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
    return ConfigSource(found, _trait(names) or names[-1], scope)


def _ini(path: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()  # as in fileConfig
    try:
        parser.read_string(text_of(path), path)
    except configparser.Error as error:
        raise SourceError(f"{path} is not a valid ini file: {ini_error(error)}") from None
    for name in ("formatters", "handlers", "loggers"):
        if not parser.has_section(name):
            raise SourceError(f"{path} has no section [{name}], which fileConfig requires")
    return parser


_READERS: dict[str, Callable[[str], Any]] = {**READERS, ".ini": _ini, ".cfg": _ini, ".conf": _ini}


def _below(found: Any, names: list[str]) -> tuple[list[str], Any]:
    for at, name in enumerate(names):
        if not isinstance(found, Mapping) or name not in found:
            where = ".".join(names[:at]) or "the top level"
            raise CommandError(f"{where} has no key {name!r}")
        found = found[name]
    if not isinstance(found, Mapping):
        raise CommandError(f"{'.'.join(names)} is not a mapping")
    return names, found


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
