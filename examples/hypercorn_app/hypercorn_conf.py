"""hypercorn with any ASGI application.

pip install hypercorn freshsuccess-logging
hypercorn --config file:hypercorn_conf.py app:app
"""

import logging

bind = "127.0.0.1:8000"
accesslog = logging.getLogger("hypercorn.access")  # else hypercorn's own, which does not propagate
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "console": {"class": "logging.StreamHandler"},
        "usage": {
            "class": "fslog.FreshsuccessHandler",
            # An event of each line of the access log: POST /wiki/edit uses the feature edit.
            "rules": [{"preset": "access", "path": r"/^/(?P<module>wiki)/(?P<feature>\w+)$/"}],
        },
    },
    "root": {"handlers": ["console", "usage"], "level": "INFO"},
}
