"""A file in the format of `logging.config.fileConfig`, as the mapping that says the same.

fileConfig evaluates `args` and `kwargs` as Python; here only those of fslog's handlers are.
"""

from __future__ import annotations

import configparser
import logging
import logging.config
import logging.handlers
from collections.abc import Callable
from typing import Any

from fslog import FreshsuccessHandler
from fslog.cli.check import mistakes
from fslog.cli.check.factories import makes

Wrong = Callable[[str, str], None]
"""Told where something is wrong, and what."""


def as_mapping(parser: configparser.RawConfigParser, wrong: Wrong) -> dict[str, Any]:
    """Return what a file says in the format of dictConfig.

    Args:
        parser: of a file with the sections that fileConfig needs.
        wrong: told of what fileConfig would not take.

    >>> parser = configparser.ConfigParser()
    >>> parser.read_string(
    ...     "[loggers]\\nkeys=root\\n[handlers]\\nkeys=h\\n[formatters]\\nkeys=\\n"
    ...     "[logger_root]\\nlevel=INFO\\nhandlers=h\\n"
    ...     "[handler_h]\\nclass=fslog.FreshsuccessHandler\\nkwargs={'session': 'idle'}\\n")
    >>> as_mapping(parser, print)["handlers"]
    {'h': {'class': 'fslog.FreshsuccessHandler', 'session': 'idle'}}
    """
    read = _Reader(parser, wrong)
    loggers = {}
    for key in read.keys("loggers"):
        section = read.section(f"logger_{key}")
        name = "root" if key == "root" else section.get("qualname", "")
        if not name:
            wrong(f"logger_{key}", "it has no qualname, the logger's name")
            continue
        # Also where nothing is said, unlike dictConfig: fileConfig sets it.
        made: dict[str, Any] = {"propagate": section.get("propagate", "1").strip() not in ("0", "")}
        made["handlers"] = _split(section.get("handlers", ""))
        loggers[name] = made | ({"level": section["level"]} if "level" in section else {})
    return {
        "version": 1,
        "formatters": {key: read.formatter(key) for key in read.keys("formatters")},
        "handlers": {key: read.handler(key) for key in read.keys("handlers")},
        "root": loggers.pop("root", {}),
        "loggers": loggers,
    }


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


class _Reader:
    def __init__(self, parser: configparser.RawConfigParser, wrong: Wrong) -> None:
        self._parser = parser
        self._wrong = wrong

    def keys(self, name: str) -> list[str]:
        return _split(self.section(name).get("keys", ""))

    def section(self, name: str, *raw: str) -> dict[str, str]:
        """Return a section's options, those named as they stand, without interpolation."""
        if not self._parser.has_section(name):
            self._wrong(name, "there is no section of this name")
            return {}
        found = {}
        for option in self._parser.options(name):
            try:
                found[option] = self._parser.get(name, option, raw=option in raw)
            except configparser.InterpolationError as error:
                what = f"it has a % that begins no substitution ({type(error).__name__})"
                self._wrong(f"{name}.{option}", f"{what}; write %% for a percent sign")
        return found

    def formatter(self, key: str) -> dict[str, Any]:
        section = self.section(f"formatter_{key}", "format", "datefmt", "style", "defaults")
        kept = ("class", "format", "datefmt", "style")
        return {name: section[name] for name in kept if section.get(name)}

    def handler(self, key: str) -> dict[str, Any]:
        section = self.section(f"handler_{key}")
        made: dict[str, Any] = {}
        factory = _resolved(section.get("class", ""))
        if section.get("class"):
            made["class"] = factory if isinstance(factory, type) else section["class"]
        made |= {
            name: section[name] for name in ("level", "formatter", "target") if section.get(name)
        }
        if makes(factory, FreshsuccessHandler):
            made["class"] = section["class"]
            made |= self._arguments(key, section)
        return made

    def _arguments(self, key: str, section: dict[str, str]) -> dict[str, Any]:
        scope = vars(logging)  # as fileConfig does it
        where = f"handler_{key}"
        try:
            positional = eval(section.get("args", "()"), scope)
            named = eval(section.get("kwargs", "{}"), scope)
            if positional:
                self._wrong(where, "args is not empty; give the arguments by name, in kwargs")
            return dict(named)
        except Exception as error:  # whatever the expression does
            what = mistakes.of_expression(error)
            self._wrong(where, f"its arguments cannot be evaluated: {what}")
            return {}


def _resolved(name: str) -> Any:
    """Return a handler's class, looked for in `logging` first; None if there is none."""
    found: Any = logging
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not None:
        return found
    try:
        return logging.config.DictConfigurator({}).resolve(name)
    except Exception:  # said where the configuration is taken apart
        return None
