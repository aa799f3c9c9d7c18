"""The pytest fixture `freshsuccess`: the events that the application under test would send.

Every pytest run of an environment with fslog imports this module. The rest of fslog is imported
when a test uses the fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fslog.testing import Capture


@pytest.fixture
def freshsuccess(monkeypatch: pytest.MonkeyPatch) -> Iterator[Capture]:
    """Catch Freshsuccess events instead of sending them: .events, .assert_event(action=...)."""
    import os

    from fslog.testing import VARIABLES, capture

    for name in VARIABLES:
        # Set before the test's own changes, and so undone after them: else these would restore
        # the values of the fixture.
        is_set = name in os.environ
        monkeypatch.setenv(name, os.environ.get(name, ""))
        if not is_set:
            del os.environ[name]
    with capture() as captured:
        yield captured
