"""pytest's fixture `freshsuccess`: what the application under test would send, to assert upon.

Every pytest run of an environment that has fslog loads this module. It loads nothing more until a
test asks for the fixture.
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
        # Noted before the test's own changes, and so undone after them: else those would leave
        # behind what the fixture sets.
        is_set = name in os.environ
        monkeypatch.setenv(name, os.environ.get(name, ""))
        if not is_set:
            del os.environ[name]
    with capture() as captured:
        yield captured
