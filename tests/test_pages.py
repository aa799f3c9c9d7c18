"""The packages' pages, the guide and the README name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fslog

PACKAGE = Path(fslog.__file__).resolve().parent
TESTS = Path(__file__).resolve().parent

PAGES = [
    PACKAGE / "delivery" / "__init__.py",
    PACKAGE / "spool" / "__init__.py",
    PACKAGE / "cli" / "check" / "__init__.py",
    PACKAGE / "guide" / "delivery.md",
    TESTS.parent / "README.md",
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_test_that_a_page_names_exists(path: Path) -> None:
    """A renamed or removed test must not leave its old name behind in an invariant."""
    page = path.read_text(encoding="utf-8")
    sources = (path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    defined = {name for text in sources for name in re.findall(r"^def (test_\w+)", text, re.M)}
    named = set(re.findall(r"\btest_\w+\b(?!\.py)", page))
    assert named
    assert named - defined == set()
