"""FastAPI under uvicorn, alone or in gunicorn.

pip install fastapi uvicorn gunicorn freshsuccess-logging
uvicorn --port 8000 fastapi_app:app
gunicorn --bind 127.0.0.1:8000 --worker-class uvicorn.workers.UvicornWorker fastapi_app:app
"""

import logging.config
from typing import Annotated

from fastapi import Depends, FastAPI, Header

from fslog import context
from fslog.integrations.asgi import Identity

# Events of the access log, without a log call: POST /wiki/edit uses the feature edit.
WIKI = {"preset": "access", "methods": ["POST"], "path": r"/^/(?P<module>wiki)/(?P<feature>\w+)$/"}

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "console": {"class": "logging.StreamHandler"},
            "usage": {"class": "fslog.FreshsuccessHandler", "rules": [WIKI]},
        },
        "root": {"handlers": ["console", "usage"], "level": "INFO"},
        "loggers": {name: {"propagate": True} for name in ("uvicorn", "uvicorn.access")},
    }
)
log = logging.getLogger("app")
Name = Annotated[str | None, Header()]


def current_user(x_account: Name = None, x_user: Name = None):
    """Return who is acting: the proxy that authenticates users sets these headers."""
    return {"accountId": x_account, "userId": x_user} if x_account and x_user else {}


async def bound(user: Annotated[dict, Depends(current_user)]):
    context.bind(**user)  # in an `async def`: a `def` runs in a thread, and binds there


app = FastAPI(dependencies=[Depends(bound)])
app.add_middleware(Identity)  # clears what another request has bound


@app.post("/reports/export")
def export(rows: int):
    event = {"action": "feature", "module": "reports", "feature": "export", "rows": rows}
    log.info("exported %d rows", rows, extra={"event": event})


@app.post("/wiki/{feature}")
async def wiki(feature: str): ...
