import logging

from django.http import HttpResponse
from django.urls import path

log = logging.getLogger("app")


def export(request):
    rows = int(request.GET["rows"])
    event = {"action": "feature", "module": "reports", "feature": "export", "rows": rows}
    log.info("exported %d rows", rows, extra={"event": event})
    return HttpResponse("exported\n")


def wiki(request, feature):
    return HttpResponse(f"{feature}\n")


urlpatterns = [path("reports/export", export), path("wiki/<feature>", wiki)]
