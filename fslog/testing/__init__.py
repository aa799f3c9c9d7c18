"""Capture the events of an application under test, for unittest, scripts and pytest.

Nothing here depends on pytest, whose fixture `freshsuccess` is a `capture()`.
"""

from __future__ import annotations

from fslog.testing.captures import VARIABLES, Capture, capture
from fslog.testing.sink import Finding

__all__ = ["VARIABLES", "Capture", "Finding", "capture"]
