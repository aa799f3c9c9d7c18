"""Settings of a small Django project; fslog's part is `LOGGING` and `FSLOG_IDENTITY`."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent
SECRET_KEY = os.environ.get("SECRET_KEY", "only-for-this-example")
DEBUG = False
ALLOWED_HOSTS = [".localhost"]
ROOT_URLCONF = "urls"
WSGI_APPLICATION = "wsgi.application"  # for runserver too
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "middleware.ProxyUserMiddleware",
    "middleware.account",
    "fslog.integrations.django.IdentityMiddleware",
]
# Every record of a request belongs to this user. If the user is not known, the event is invalid and
# not sent: a default would become a user. `sessionId` is a digest of the session's key.
FSLOG_IDENTITY = {"accountId": "account", "userId": "user.pk"}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "plain"},
        "freshsuccess": {
            # The keys come from FSLOG_AUTH_KEY and FSLOG_API_KEY.
            "class": "fslog.FreshsuccessHandler",
            "rules": [
                {
                    "when": {"logger": "tracker", "message": "exported %d rows"},
                    "event": {
                        "action": "feature",
                        "module": "reports",
                        "feature": "export",
                        "total": "{args.0}",
                    },
                },
                # What known users run into: 404, 405, 500... An action of our own.
                {
                    "when": {
                        "logger": "django.request",
                        "status_code": "/^[45]/",
                        "request.user.pk": "/./",
                    },
                    "event": {
                        "action": "errorPage",
                        "status": "{status_code}",
                        "method": "{request.method}",
                        "path": "{request.path}",
                    },
                },
                # The access log, of `manage.py runserver` and of gunicorn.
                {
                    "preset": "access",
                    "methods": ["POST"],
                    "path": r"/^/(?P<module>wiki)/(?P<feature>\w+)$/",
                },
            ],
        },
    },
    "root": {"level": "INFO", "handlers": ["freshsuccess", "console"]},
    "loggers": {
        # Both have handlers and keep records to themselves, unless they are told otherwise.
        "django.server": {"level": "INFO", "handlers": [], "propagate": True},
        "gunicorn.access": {"level": "INFO", "handlers": [], "propagate": True},
    },
}
