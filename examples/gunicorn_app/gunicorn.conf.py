"""gunicorn reads this file when it is started beside it; all of fslog's part is logging.

The records of `gunicorn.access` carry a mapping: `args.m` is the method, `args.U` the path,
`args.s` the status, `args.u` the user ("-" for none), `args.M` the milliseconds and
`args.{x-account}i` a request header. The keys come from FSLOG_AUTH_KEY and FSLOG_API_KEY.
"""

wsgi_app = "app:application"
bind = "127.0.0.1:8000"
workers = 2

# What holds for every event: a right answer to a user who is known.
USED = {"logger": "gunicorn.access", "args.s": "/^2/", "args.u": "/[^-]/"}

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
                    "when": {
                        **USED,
                        "args.m": "POST",
                        "args.U": r"/^/(?P<module>\w+)/(?P<feature>\w+)$/",
                    },
                    "event": {
                        "action": "feature",
                        "module": "{module}",
                        "feature": "{feature}",
                        "milliseconds": "{args.M}",
                    },
                },
                {
                    "when": {**USED, "args.U": r"/^/reports/\w+\.(?P<format>csv|pdf)$/"},
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
