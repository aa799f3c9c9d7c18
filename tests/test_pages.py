"""The packages' pages, and the guide, name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fslog

PACKAGE = Path(fslog.__file__).resolve().parent
TESTS = Path(__file__).resolve().parent


PAGES = [
    "delivery/__init__.py",
    "spool/__init__.py",
    "cli/check/__init__.py",
    "guide/delivery.md",
]


@pytest.mark.parametrize("name", PAGES)
def test_every_test_that_a_page_names_exists(name: str) -> None:
    """A renamed or removed test must not leave its old name behind in an invariant."""
    page = (PACKAGE / name).read_text(encoding="utf-8")
    sources = (path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    defined = {name for text in sources for name in re.findall(r"^def (test_\w+)", text, re.M)}
    named = set(re.findall(r"\btest_\w+", page))
    assert named
    assert named - defined == set()
