"""The command `fslog check` in the process of the test."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from fslog.cli import main
from processes import KEYS

SECRET = "S3CRETWORD"
"""Tests put it where a key may be; like a key, it is never shown."""

Check = Callable[..., tuple[int, str, str]]


def check_command(capfd: pytest.CaptureFixture[str]) -> Check:
    """Return a function that runs `fslog check` and returns exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["check", *map(str, arguments)])
        sys.stdout.flush()
        out, err = capfd.readouterr()
        shown = (out + err).lower()
        assert not [one for one in (*KEYS, SECRET) if one.lower() in shown]
        assert "Traceback" not in err
        return code, out, err

    return run


def write(name: str, text: str) -> str:
    """Write a dedented text to a file and return the file's name."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return name
