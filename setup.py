"""The package's metadata; the settings of its tools are in `pyproject.toml`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def version() -> str:
    """Read the version from its module's text: importing the package needs its dependencies."""
    text = (HERE / "fslog" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^VERSION = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError('fslog/version.py has no line `VERSION = "..."`')
    return found[1]


setup(
    name="freshsuccess-logging",
    version=version(),
    description="A logging handler that ships log records to Freshsuccess as product-usage events",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="fslog contributors",
    # No license classifier beside it: newer setuptools refuse to have the license said twice.
    license="MIT",
    license_files=["LICENSE"],
    keywords=["logging", "freshsuccess", "analytics", "events", "product usage"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Programming Language :: Python :: 3.15",
        "Programming Language :: Python :: Implementation :: CPython",
        "Topic :: System :: Logging",
        "Typing :: Typed",
    ],
    # Said so that an editable install is a line in a `.pth` file: setuptools would else install an
    # import hook, which makes the start of every interpreter take three times as long.
    package_dir={"": "."},
    packages=find_packages(include=["fslog", "fslog.*"]),
    package_data={
        "fslog": ["py.typed", "guide/*.md"],
        "fslog.cli.demo": ["*.json"],
        "fslog.viewer": ["static/*"],
    },
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=["python-json-logger>=4", "urllib3>=2.2", "backoff>=2.2"],
    extras_require={
        "test": [
            "pytest>=8",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis",
            "coverage[toml]>=7.10",
            "PyYAML",
            "gunicorn",
            "uvicorn",
            "starlette",
            "django",
            "gevent",
            "trustme",
            "celery",
            "redis",
            "rq",
            "selenium",
            "opentelemetry-sdk",
            "opentelemetry-instrumentation-urllib3",
            "sentry-sdk",
            "elastic-apm",
        ],
        # Each minor release of ruff may format differently.
        "lint": ["ruff>=0.17,<0.18", "mypy>=2"],
    },
    entry_points={
        "console_scripts": ["fslog = fslog.cli:main"],
        "pytest11": ["fslog = fslog.pytest_plugin"],
    },
)
