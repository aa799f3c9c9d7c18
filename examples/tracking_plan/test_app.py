"""Each event of the plan is made, and no other: pytest.ini has `fslog_plan = strict`."""

import pytest
from app import app

REQUESTS = {
    "/reports/export?rows=42": {"feature": "export", "rows": 42},
    "/reports/leave?seconds=90": {"module": "reports", "timeSpent": 90_000},
    "/wiki/edit": {"module": "wiki", "feature": "edit"},
}


@pytest.mark.parametrize("path", REQUESTS)
def test_a_request_is_an_event(path, freshsuccess):
    app.test_client().post(path, headers={"X-Account": "acme", "X-User": "ann"})
    freshsuccess.assert_event(userId="ann", **REQUESTS[path])
