"""Views that log as Django applications do; `LOGGING` in `settings.py` makes events of it."""

import logging

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.views.decorators.http import require_POST

log = logging.getLogger("tracker")


@require_POST
@login_required
def export(request):
    """Log a call that knows nothing of events: a rule finds it, `fields` find its user."""
    log.info("exported %d rows", int(request.GET["rows"]), extra={"request": request})
    return HttpResponse("exported\n")


@require_POST
@login_required
def create(request):
    """Log a call that says which event it is; the middleware has bound who does it."""
    event = {"action": "feature", "module": "tasks", "feature": "create", "priority": "high"}
    log.info("created a task", extra={"event": event})
    return HttpResponse("created\n")


@require_POST
def wiki(request, feature):
    """Log nothing, and let anybody in: the access log of the server tells enough."""
    return HttpResponse(f"{feature}\n")


def health(request):
    return HttpResponse("well\n")
