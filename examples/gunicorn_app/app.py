"""A WSGI application that knows nothing of fslog: nothing in it logs, nothing imports fslog.

What it is used for stands in gunicorn's access log, and `gunicorn.conf.py` says which of those
lines are events.
"""

import base64
import binascii

PASSWORDS = {"ann": "wonder", "bob": "builder"}
OPEN = {"/health", "/help/search"}  # to anybody
PAGES = {
    ("GET", "/health"),
    ("POST", "/help/search"),
    ("GET", "/board/show"),
    ("POST", "/board/sort"),
    ("POST", "/tasks/create"),
    ("GET", "/reports/week.csv"),
}


def application(environ, start_response):
    """Answer one request: 200 for what there is, 401 for strangers, 404 for the rest."""
    page = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if page[1] not in OPEN and not is_authenticated(environ):
        start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="tracker"')])
        return [b""]
    status = "200 OK" if page in PAGES else "404 Not Found"
    body = f"{status}\n".encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def is_authenticated(environ):
    """Tell whether the request's name and password (HTTP Basic) are right."""
    try:
        given = base64.b64decode(environ["HTTP_AUTHORIZATION"].removeprefix("Basic ")).decode()
    except (KeyError, binascii.Error, UnicodeDecodeError):
        return False
    name, _, password = given.partition(":")
    return name in PASSWORDS and PASSWORDS[name] == password
