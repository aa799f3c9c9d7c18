"""`fslog check`, run in this process."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from fslog.cli import main
from processes import KEYS

SECRET = "S3CRETWORD"
"""What tests put where a key may stand; no more than a key is it ever shown."""

Check = Callable[..., tuple[int, str, str]]


def check_command(capfd: pytest.CaptureFixture[str]) -> Check:
    """Return what runs `fslog check ARGUMENTS` and gives exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        # The command is a process of its own, in which only the configuration can load Celery.
        celery = sys.modules.pop("celery", None)
        try:
            code = main(["check", *map(str, arguments)])
        finally:
            if celery is not None:
                sys.modules["celery"] = celery
        sys.stdout.flush()
        out, err = capfd.readouterr()
        shown = (out + err).lower()
        assert not [one for one in (*KEYS, SECRET) if one.lower() in shown]
        assert "Traceback" not in err
        return code, out, err

    return run


def write(name: str, text: str) -> str:
    """Write a file here, its text without common indentation, and return its name."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return name
