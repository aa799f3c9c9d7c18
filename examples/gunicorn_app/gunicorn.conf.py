"""gunicorn with any application: its access log is all that fslog needs.

pip install gunicorn freshsuccess-logging
gunicorn
"""

wsgi_app = "app:app"
bind = "127.0.0.1:8000"

# For requests of known users: the proxy that authenticates them sets two headers.
KNOWN = {"args.{x-user}i": "/[^-]/", "args.{x-account}i": "/[^-]/"}
PATH = r"/^/(?P<module>\w+)/(?P<feature>\w+)$/"

logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "console": {"class": "logging.StreamHandler"},
        "usage": {
            "class": "fslog.FreshsuccessHandler",
            "fields": {"accountId": "args.{x-account}i", "userId": "args.{x-user}i"},
            "rules": [{"preset": "access", "methods": ["POST"], "path": PATH, "when": KNOWN}],
        },
    },
    "root": {"handlers": ["console", "usage"], "level": "INFO"},
    "loggers": {"gunicorn.access": {"propagate": True}},  # gunicorn sets it to False
}
