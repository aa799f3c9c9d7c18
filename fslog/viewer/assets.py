"""The page's files, read once at the start into a table: no path of a request reaches a disk."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
"""The kinds of file that the page is made of."""

PAGE = "index.html"
ICON = "icon.svg"


@dataclass(frozen=True)
class Asset:
    """Hold one file of the page.

    Args:
        kind: its content type.
        body: what it holds.
    """

    kind: str
    body: bytes


def load() -> dict[str, Asset]:
    """Return the page's files by name, wherever the package is installed.

    >>> sorted(load())[:1] <= ["icon.svg"]
    True
    """
    found = {}
    for item in importlib.resources.files("fslog.viewer").joinpath("static").iterdir():
        suffix = item.name[item.name.rfind(".") :]
        if suffix in TYPES and item.is_file():
            found[item.name] = Asset(TYPES[suffix], item.read_bytes())
    return found
