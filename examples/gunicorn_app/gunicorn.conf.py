"""gunicorn reads this file when it is started beside it; all of fslog's part is logging.

The preset `access` reads the access lines. The records of gunicorn carry a mapping besides:
`args.M` are the milliseconds, and `args.{x-account}i` a request header. The keys come from
FSLOG_AUTH_KEY and FSLOG_API_KEY.
"""

wsgi_app = "app:application"
bind = "127.0.0.1:8000"
workers = 2

# What holds for every event, beside a right answer: the user is known.
KNOWN = {"access.user": "/./"}

logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"},
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "plain"},
        "freshsuccess": {
            "class": "fslog.FreshsuccessHandler",
            "fields": {
                "userId": "args.u",
                # The proxy in front sets it: take no header from a browser for true.
                "accountId": "args.{x-account}i",
            },
            "rules": [
                {
                    "preset": "access",
                    "methods": ["POST"],
                    "path": r"/^/(?P<module>\w+)/(?P<feature>\w+)$/",
                    "when": KNOWN,
                    "event": {
                        "action": "feature",
                        "module": "{module}",
                        "feature": "{feature}",
                        "milliseconds": "{args.M}",
                    },
                },
                {
                    "preset": "access",
                    "path": r"/^/reports/\w+\.(?P<format>csv|pdf)$/",
                    "when": KNOWN,
                    "event": {
                        "action": "feature",
                        "module": "reports",
                        "feature": "export {format}",
                    },
                },
            ],
        },
    },
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["console"], "propagate": False},
        "gunicorn.access": {
            "level": "INFO",
            "handlers": ["freshsuccess", "console"],
            "propagate": False,
        },
    },
}
