"""The package's shape: imports point downward only."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fslog

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(fslog.__file__).resolve().parent

# The layers of the README's table, from the bottom to the top. A layer may have several rows: a
# module imports from lower layers and from the rows before its own, never from its own row.
# `cli` stands for all of its modules, which may import one another, and for `__main__`; `viewer`
# and `testing` stand for theirs.
LAYERS = [
    [
        ["version", "errors", "stats", "context", "sessions", "interrupts"],
        ["paths", "redaction", "notices", "worker", "filesystem", "queue"],
        ["forkmark", "lifecycle"],
    ],
    [["wire"], ["config"], ["schema", "encoding", "templates", "retry", "glances"]],
    [["segments"], ["rules", "batches", "owners", "destination", "connections"], ["detours"]],
    [
        ["httpbody", "directory"],
        ["httpserver", "share"],
        ["intake", "writer", "reader", "compiled"],
        ["backlog"],
        ["formatter", "transport", "listener", "collector"],
    ],
    [["delivery"]],
    [["handler"]],
    [["__init__"]],
    [["viewer", "testing"], ["cli", "pytest_plugin"]],
]
RANK = {
    name: rank
    for rank, names in enumerate(row for layer in LAYERS for row in layer)
    for name in names
}
DEPENDENCIES = {"pythonjsonlogger", "urllib3", "backoff"}
HOSTS = {"pytest_plugin": {"pytest"}, "worker": {"_interpreters", "_xxsubinterpreters"}}
"""What a module is loaded by, or does without: each CPython has one of the two, or none."""

IMPORTER = re.compile(r"\b(import_module|__import__)$")

ROOMS = {"mapping", "net", "spool", "delivery", "collector"}
"""Packages whose modules stand in the table by their own names."""

EMPTY = ROOMS - {"collector"}
"""Packages that import nothing: what one module needs is loaded with that module only."""

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts not in {(room, "__init__.py") for room in EMPTY}
}


def unit(module: str) -> str:
    """Return the name under which a module, given without `fslog.`, stands in the table."""
    first, _, rest = module.partition(".")
    own = rest.partition(".")[0]
    if first in ROOMS and own in RANK and own != "__init__":
        return own
    return "cli" if first == "__main__" else first or "__init__"


def imports(source: str, module: str) -> Iterator[str]:
    """Yield the full name of everything that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            # What is imported may itself be a module: `from fslog import context`.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and IMPORTER.search(ast.unparse(node.func)):
            name = node.args[0]
            assert isinstance(name, ast.Constant), f"{module}, line {node.lineno}: imports what?"
            yield name.value


def units_of(source: str, module: str) -> set[str]:
    """Return which entries of the table a module imports from, itself left out."""
    found = set()
    for name in imports(source, module):
        package, _, rest = name.partition(".")
        if package == "fslog":
            # What is no module is a name that the package itself offers.
            found.add(unit(rest) if unit(rest) in RANK else "__init__")
    return found - {unit(module)}


def upward(source: str, module: str) -> list[str]:
    """Return which entries a module imports from although they do not stand below it."""
    return sorted(name for name in units_of(source, module) if RANK[name] >= RANK[unit(module)])


def test_the_table_is_the_package() -> None:
    """Every module has a place in the table, and every place is taken."""
    assert {unit(module) for module in MODULES} == set(RANK)


@pytest.mark.parametrize("room", sorted(EMPTY))
def test_a_package_itself_imports_nothing(room: str) -> None:
    """Who needs one module of it does not load what the others need."""
    assert not list(imports((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"), room))


def test_the_readme_shows_the_table() -> None:
    """The README's design section draws the same layers with the same modules."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, table = text.partition("\n| layer | module")
    rows = re.findall(r"^\| \d \| ([^|]*) \|", table, re.MULTILINE)
    drawn = [set(re.findall(r"`(\w+)", row)) for row in rows]
    assert drawn == [{name for row in layer for name in row} for layer in LAYERS]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module: str) -> None:
    """A module imports only from modules below it, late imports and those for types included."""
    assert upward(MODULES[module].read_text(encoding="utf-8"), module) == []


@pytest.mark.parametrize("module", MODULES)
def test_only_the_declared_dependencies_are_imported(module: str) -> None:
    """Beside the standard library and itself, fslog imports its three dependencies only."""
    source = MODULES[module].read_text(encoding="utf-8")
    packages = {name.partition(".")[0] for name in imports(source, module)}
    foreign = packages - sys.stdlib_module_names - {"fslog"}
    assert foreign <= DEPENDENCIES | HOSTS.get(unit(module), set())


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wire", "from fslog.handler import FreshsuccessHandler"),
        ("wire", "from fslog import handler"),
        ("wire", "import fslog.handler"),
        ("wire", "import fslog"),
        ("wire", "from fslog import FreshsuccessHandler"),
        ("wire", "def late():\n    from fslog.handler import FreshsuccessHandler"),
        ("wire", "if TYPE_CHECKING:\n    from fslog.handler import FreshsuccessHandler"),
        ("wire", "importlib.import_module('fslog.handler')"),
        ("wire", "from fslog.mapping.encoding import encode"),
        ("handler", "from fslog.cli.demo.demo import main"),
        ("handler", "from fslog.__main__ import main"),
    ],
)
def test_an_import_that_points_upward_is_found(module: str, source: str) -> None:
    """Every way to write an upward import is noticed."""
    assert len(upward(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("handler", "from fslog.net.wire import headers"),
        ("handler", "from fslog import context"),
        ("cli.demo", "from fslog.cli.tables import show"),
        ("cli.demo", "from fslog import FreshsuccessHandler"),
        ("__main__", "from fslog.cli import main"),
        ("__init__", "from fslog import context"),
    ],
)
def test_an_import_that_points_downward_is_fine(module: str, source: str) -> None:
    """Downward imports, and those inside `cli` and `viewer`, are no fault."""
    assert upward(source, module) == []
