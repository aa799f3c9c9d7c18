"""An ASGI application; `hypercorn_conf.py` makes events of what it logs and of the access log."""

import logging

from fslog.integrations.asgi import Identity

log = logging.getLogger("app")


def who(scope):
    """Return who is acting: the proxy that authenticates users sets these headers."""
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    return {"accountId": headers.get("x-account"), "userId": headers.get("x-user")}


async def answer(scope, receive, send):
    if scope["type"] != "http":
        return  # hypercorn goes on without a lifespan
    if scope["path"] == "/reports/export":
        event = {"action": "feature", "module": "reports", "feature": "export"}
        log.info("exported", extra={"event": event})
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


app = Identity(answer, who)
