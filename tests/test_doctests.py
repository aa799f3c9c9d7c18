"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import fslog

PACKAGE = Path(fslog.__file__).resolve().parent
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", [*MODULES, "readme_blocks", "test_links"])
def test_examples(module: str) -> None:
    """Every example of the module gives what it shows."""
    results = doctest.testmod(importlib.import_module(module.removesuffix(".__init__")))
    assert results.attempted > 0
    assert results.failed == 0
