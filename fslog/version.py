"""The package's version, as `setup.py` and the `User-Agent` read it."""

VERSION = "0.2.0"
