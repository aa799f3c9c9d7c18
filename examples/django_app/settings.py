"""Django, with its own server or under gunicorn.

pip install django gunicorn freshsuccess-logging
export DJANGO_SETTINGS_MODULE=settings
python -m django runserver --noreload 127.0.0.1:8000
gunicorn --bind 127.0.0.1:8000 --access-logfile - 'django.core.wsgi:get_wsgi_application()'
"""

SECRET_KEY = "only-for-this-example"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "urls"
MIDDLEWARE = ["fslog.integrations.django.IdentityMiddleware"]

# The proxy that authenticates users sets these headers. With `django.contrib.auth`, place the
# middleware below its own, and read {"accountId": "user.account_id", "userId": "user.pk"}.
FSLOG_IDENTITY = {"accountId": "headers.X-Account", "userId": "headers.X-User"}

# Events of the access log, without a log call: POST /wiki/edit uses the feature edit.
WIKI = {"preset": "access", "methods": ["POST"], "path": r"/^/(?P<module>wiki)/(?P<feature>\w+)$/"}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "console": {"class": "logging.StreamHandler"},
        "usage": {"class": "fslog.FreshsuccessHandler", "rules": [WIKI]},
    },
    "root": {"handlers": ["console", "usage"], "level": "INFO"},
    "loggers": {  # both keep their records to themselves
        "django.server": {"handlers": [], "propagate": True},
        "gunicorn.access": {"handlers": [], "propagate": True},
    },
}
