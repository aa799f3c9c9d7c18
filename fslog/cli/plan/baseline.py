"""The baseline: the violations that a code base already had, so that only new ones fail."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from fslog.cli.options import CommandError
from fslog.cli.plan.findings import Violation

_VERSION = 1
_LINE = re.compile(r":\d+\b")

Key = tuple[str, str, str, str]
"""Code, event, path and message of a violation, without line numbers, which change."""


def _key(one: Violation) -> Key:
    return one.code, one.event, one.path.replace(os.sep, "/"), _LINE.sub("", one.message)


def write_baseline(path: str, violations: Iterable[Violation]) -> int:
    """Write the violations to a file, and return how many they are.

    The file has one line for each, in a stable order, so that its changes can be read.
    """
    keys = sorted(map(_key, violations))
    names = ("code", "event", "path", "message")
    lines = [json.dumps(dict(zip(names, key, strict=True)), ensure_ascii=False) for key in keys]
    rows = ",\n".join(f"    {line}" for line in lines)
    body = f"[\n{rows}\n  ]" if rows else "[]"
    text = f'{{\n  "version": {_VERSION},\n  "violations": {body}\n}}\n'
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CommandError(f"--baseline: {path} cannot be written: {error.strerror}") from None
    return len(keys)


def read_baseline(path: str) -> Counter[Key]:
    """Return how often each violation is in a file.

    Raises:
        CommandError: there is none, or it is not a baseline.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        raise CommandError(
            f"--baseline: no such file: {path}; --write-baseline creates it"
        ) from None
    except OSError as error:
        raise CommandError(f"--baseline: {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise CommandError(f"--baseline: {path} is not JSON") from None
    rows = found.get("violations") if isinstance(found, Mapping) else None
    if not isinstance(rows, list) or found.get("version") != _VERSION:
        raise CommandError(f"--baseline: {path} was not written by --write-baseline")
    names = ("code", "event", "path", "message")
    return Counter(
        tuple(str(row.get(name, "")) for name in names)  # type: ignore[misc]
        for row in rows
        if isinstance(row, Mapping)
    )


def new_violations(
    violations: Iterable[Violation], known: Counter[Key]
) -> tuple[list[Violation], int]:
    """Return the violations that a baseline does not have, and how many of it there are no more."""
    left = Counter(known)
    found = []
    for one in violations:
        key = _key(one)
        if left[key] > 0:
            left[key] -= 1
        else:
            found.append(one)
    return found, sum(left.values())
