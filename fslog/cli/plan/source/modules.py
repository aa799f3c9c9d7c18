"""The Python files below some paths, their dotted names, and their syntax trees."""

from __future__ import annotations

import ast
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from fslog.cli.options import CommandError

_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})

_MARKERS = ("pyproject.toml", "setup.py", "setup.cfg", "manage.py", "PKG-INFO", ".git")
"""Files of a project's top directory, which is on the path of its modules."""

_SOURCES = frozenset({"src", "lib", "site-packages", "dist-packages"})

_WORDS = re.compile(
    rb"[Ll]ogg|(?<![A-Za-z0-9])_?logs?(?![a-z0-9])|fslog"
    rb"|\.\s*(?:debug|info|warn|warning|error|critical|exception|fatal)\s*\("
)
"""What a file contains if it makes a logger, calls one, or uses fslog."""


class Unparsed(NamedTuple):
    """A file that could not be read, and the reason."""

    path: str
    reason: str


class Parsed(NamedTuple):
    """A file's content and its syntax tree."""

    text: bytes
    tree: ast.Module


def python_files(paths: Sequence[str]) -> Iterator[str]:
    """Yield the Python files that are, or are below, some paths; each once, in a stable order.

    Hidden directories, virtual environments and caches are left out, unless a path names them.

    Raises:
        CommandError: a path does not exist, or is a file of another kind.
    """
    seen: set[str] = set()
    for path in paths:
        if os.path.isfile(path):
            if not path.endswith((".py", ".pyw")):
                raise CommandError(f"{path} is not a Python file; expected a directory or FILE.py")
            found: Iterator[str] = iter([path])
        elif os.path.isdir(path):
            found = _below(path)
        else:
            raise CommandError(f"no such file or directory: {path}")
        for one in found:
            real = os.path.realpath(one)
            if real not in seen:
                seen.add(real)
                yield one


def _below(top: str) -> Iterator[str]:
    for directory, names, files in os.walk(top):
        names[:] = sorted(
            name
            for name in names
            if name not in _SKIPPED
            and not name.startswith(".")
            and not os.path.exists(os.path.join(directory, name, "pyvenv.cfg"))
        )
        for name in sorted(files):
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                yield path.removeprefix(f".{os.sep}")


def parse(path: str, *, only_with_loggers: bool = True) -> Parsed | Unparsed | None:
    """Return a file's syntax tree, or why there is none.

    Args:
        only_with_loggers: whether a file without any word about logging gives None.
    """
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        return Unparsed(path, error.strerror or str(error))
    if only_with_loggers and _WORDS.search(text) is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes, which are the application's
            return Parsed(text, ast.parse(text, path))
    except SyntaxError as error:
        return Unparsed(path, f"line {error.lineno}: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes, deep nesting
        return Unparsed(path, str(error) or type(error).__name__)


class Names:
    """The dotted names of modules by their paths, and the paths by the names.

    A package's top directory is the one above the uppermost `__init__.py`. Above it there may be
    packages without `__init__.py`: up to the project's own directory, which contains a file such as
    `pyproject.toml`, is called `src`, or is the current one, each directory may be on the module
    path, so that a module has several possible names. If the source imports modules by absolute
    names that are files below one of these directories, and of no other, that one is.
    """

    def __init__(self, paths: Sequence[str] = (), here: str | None = None) -> None:
        self._here = os.path.realpath(here or os.getcwd())
        self._tops = {os.path.realpath(path) for path in paths if os.path.isdir(path)}
        self._roots: dict[str, tuple[str, ...]] = {}
        self._found: dict[tuple[str, str], str | None] = {}
        self._imported: dict[tuple[str, str], str | None] = {}
        self._all: list[str] = []
        self._real: dict[str, str] = {}

    def real(self, path: str) -> str:
        """Return the path by which a module is known."""
        if path not in self._real:
            self._real[path] = os.path.realpath(path)
        return self._real[path]

    def of(self, path: str) -> tuple[str, ...]:
        """Return the possible names of a module; `__main__` for a file that is only run."""
        directory, file = os.path.split(self.real(path))
        stem = file.rpartition(".")[0]
        if stem == "__main__":
            return ("__main__",)
        last = () if stem == "__init__" else (stem,)
        return tuple(
            ".".join((*os.path.relpath(directory, root).split(os.sep), *last))
            if directory != root
            else stem
            for root in self._roots_of(directory)
        )

    def settle(self, imports: Iterable[tuple[str, str]]) -> None:
        """Exclude what is not on the module path, as far as imports show it.

        Args:
            imports: the path of a file, and the absolute name of a module that it imports.
        """
        found = [
            (os.path.dirname(self.real(path)), name)
            for path, name in imports
            if name.partition(".")[0] not in sys.stdlib_module_names
        ]
        for roots in {roots for roots in self._roots.values() if len(roots) > 1}:
            used = tuple(root for root in roots if self._is_used(root, found))
            if used:
                for directory in [one for one in self._roots if self._roots[one] == roots]:
                    self._roots[directory] = used

    def _is_used(self, root: str, imports: list[tuple[str, str]]) -> bool:
        """Return whether a module below a directory imports another one from there."""
        inside = root + os.sep
        return any(
            self._below(root, name) is not None
            for directory, name in imports
            if f"{directory}{os.sep}".startswith(inside)
        )

    def path_of(self, name: str, path: str) -> str | None:
        """Return the file of a module that one at a path imports by its absolute name."""
        if name.partition(".")[0] in sys.stdlib_module_names:
            return None  # also if a directory of the source has such a name
        directory = os.path.dirname(self.real(path))
        key = (directory, name)
        if key not in self._imported:
            nearest = self._roots_of(directory)
            found = (self._below(root, name) for root in (*nearest, *self._all))
            self._imported[key] = next(filter(None, found), None)
        return self._imported[key]

    def relative(self, path: str, level: int, name: str) -> str | None:
        """Return the file of a module that one at a path imports by a relative name."""
        directory = os.path.dirname(self.real(path))
        for _ in range(level - 1):
            directory = os.path.dirname(directory)
        return self._below(directory, name) if name else self._package(directory)

    def _below(self, root: str, name: str) -> str | None:
        key = (root, name)
        if key not in self._found:
            base = os.path.join(root, *name.split("."))
            file = f"{base}.py"
            self._found[key] = file if os.path.isfile(file) else self._package(base)
        return self._found[key]

    def _package(self, directory: str) -> str | None:
        file = os.path.join(directory, "__init__.py")
        return file if os.path.isfile(file) else None

    def _roots_of(self, directory: str) -> tuple[str, ...]:
        """Return the directories that may be on the module path, the nearest first."""
        if directory not in self._roots:
            top = directory
            while os.path.isfile(os.path.join(top, "__init__.py")) and os.path.dirname(top) != top:
                top = os.path.dirname(top)
            found = [top]
            while not self._is_root(top) and os.path.basename(top).isidentifier():
                top = os.path.dirname(top)
                found.append(top)
            self._roots[directory] = tuple(found)
            if top not in self._all:
                self._all.append(top)
        return self._roots[directory]

    def _is_root(self, directory: str) -> bool:
        is_named = os.path.basename(directory) in _SOURCES or directory == self._here
        if is_named or (directory in self._tops and not self._is_inside_here(directory)):
            return True
        return any(os.path.exists(os.path.join(directory, name)) for name in _MARKERS)

    def _is_inside_here(self, directory: str) -> bool:
        return directory.startswith(self._here + os.sep)
