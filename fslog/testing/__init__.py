"""What the application under test sends, caught and asserted upon: unittest, scripts, pytest.

Nothing here knows of pytest; its fixture `freshsuccess` is `capture` under another name.
"""

from __future__ import annotations

from fslog.testing.captures import VARIABLES, Capture, capture
from fslog.testing.sink import Finding

__all__ = ["VARIABLES", "Capture", "Finding", "capture"]
