"""The one place that states the package's version; `setup.py` and the `User-Agent` read it."""

VERSION = "0.1.0"
