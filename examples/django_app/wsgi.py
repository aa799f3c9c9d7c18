"""For a WSGI server: `gunicorn wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

from fslog import context


class OneRequest:
    """Clear the context before each request, and after its access line is written.

    Around all of Django: what it answers before `middleware.who` runs has no user.
    """

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        context.clear()
        try:
            return _Body(self.app(environ, start_response))
        except BaseException:
            context.clear()
            raise


class _Body:
    def __init__(self, body):
        self.body = body

    def __iter__(self):
        return iter(self.body)

    def close(self):  # the server calls it at the end of the request
        try:
            getattr(self.body, "close", lambda: None)()
        finally:
            context.clear()


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
application = OneRequest(get_wsgi_application())
