"""What all tests share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the keys, the endpoint and the proxies of whoever runs the tests away from them."""
    for name in list(os.environ):
        ours = name.startswith("FSLOG_") and name != "FSLOG_TEST_INSTALLED"
        if ours or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
