"""The packages' pages name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fslog

PACKAGE = Path(fslog.__file__).resolve().parent
TESTS = Path(__file__).resolve().parent


@pytest.mark.parametrize("package", ["delivery", "spool", "cli/check"])
def test_every_test_that_a_page_names_exists(package: str) -> None:
    """A renamed or removed test must not leave its old name behind in an invariant."""
    page = (PACKAGE / package / "__init__.py").read_text(encoding="utf-8")
    sources = (path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    defined = {name for text in sources for name in re.findall(r"^def (test_\w+)", text, re.M)}
    named = set(re.findall(r"\btest_\w+", page))
    assert named
    assert named - defined == set()
