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
def freshsuccess() -> Iterator[Capture]:
    """Catch Freshsuccess events instead of sending them: .events, .assert_event(action=...)."""
    from fslog.testing import capture

    with capture() as captured:
        yield captured
