"""The package's structure: imports point downward, and never in a circle."""

from __future__ import annotations

import ast
import graphlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fslog

PACKAGE = Path(fslog.__file__).resolve().parent

# The rows of the table in the guide's topic `design`, from the bottom to the top. An entry is a
# module at the top level, or a package with all of its modules; `__init__` is the package itself.
ROWS = [
    ["version", "errors", "counters", "context", "types", "interrupts", "process", "config"],
    ["mapping", "net"],
    ["formatter", "capture", "spool", "delivery", "collector"],
    ["handler"],
    ["__init__"],
    ["testing", "viewer", "pytest_plugin", "cli", "__main__"],
]
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row}

DEPENDENCIES = {"pythonjsonlogger", "urllib3", "backoff"}
HOSTS = {"pytest_plugin": {"pytest"}, "process": {"_interpreters", "_xxsubinterpreters"}}
"""What a module is loaded by, or does without: each CPython has one of the two, or none."""

IMPORTER = re.compile(r"\b(import_module|__import__)$")

EMPTY = ["mapping", "net", "spool", "delivery"]
"""Packages that import nothing, so that using one of their modules does not load the others."""

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def entry(name: str) -> str:
    """Return the entry of a module or of one of its names, given without `fslog.`."""
    first = name.partition(".")[0]
    return first if first in RANK else "__init__"


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


def own_imports(source: str, module: str) -> set[str]:
    """Return what a module imports from fslog, without `fslog.`."""
    found = (name.partition(".") for name in imports(source, module))
    return {rest for package, _, rest in found if package == "fslog"}


def upward(source: str, module: str) -> list[str]:
    """Return the entries that a module imports from although they stand above it."""
    found = {entry(name) for name in own_imports(source, module)}
    return sorted(name for name in found if RANK[name] > RANK[entry(module)])


def module_of(name: str) -> str:
    """Return the module that an import of a name loads last."""
    while name and name not in MODULES and f"{name}.__init__" not in MODULES:
        name = name.rpartition(".")[0]
    return name if name in MODULES else f"{name}.__init__".lstrip(".")


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return the nodes of a cycle, if there is one."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def graph_of(sources: dict[str, str], node: Callable[[str], str]) -> dict[str, set[str]]:
    """Return which node imports which other ones; `node` gives the node of a name."""
    graph: dict[str, set[str]] = {}
    for module, source in sources.items():
        found = {node(name) for name in own_imports(source, module)}
        graph.setdefault(node(module), set()).update(found - {node(module)})
    return graph


def sources() -> dict[str, str]:
    """Return the text of every module."""
    return {module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}


def test_the_table_is_the_package() -> None:
    """Every module has a place in the table, and every place is taken."""
    assert {module.partition(".")[0] for module in MODULES} == set(RANK)


@pytest.mark.parametrize("package", EMPTY)
def test_a_package_itself_imports_nothing(package: str) -> None:
    """Importing one of its modules does not load what the others need."""
    path = PACKAGE / package / "__init__.py"
    assert not list(imports(path.read_text(encoding="utf-8"), package))


def test_the_guide_shows_the_table() -> None:
    """The guide's topic `design` has the same rows with the same entries."""
    text = (PACKAGE / "guide" / "design.md").read_text(encoding="utf-8")
    _, _, table = text.partition("\n| row | module")
    rows = re.findall(r"^\| \d \| ([^|]*) \|", table, re.MULTILINE)
    assert [re.findall(r"`(\w+)", row) for row in rows] == ROWS


@pytest.mark.parametrize("module", MODULES)
def test_imports_do_not_point_upward(module: str) -> None:
    """A module imports from its own row and those below, late imports and type hints included."""
    assert upward(MODULES[module].read_text(encoding="utf-8"), module) == []


def test_packages_do_not_import_one_another_in_a_circle() -> None:
    """Also within a row, imports between packages and modules at the top level go one way."""
    assert cycle(graph_of(sources(), entry)) == []


def test_modules_do_not_import_one_another_in_a_circle() -> None:
    """Inside a package too, some order of the modules exists."""
    assert cycle(graph_of(sources(), module_of)) == []


@pytest.mark.parametrize("module", MODULES)
def test_only_the_declared_dependencies_are_imported(module: str) -> None:
    """Beside the standard library and itself, fslog imports its three dependencies only."""
    source = MODULES[module].read_text(encoding="utf-8")
    packages = {name.partition(".")[0] for name in imports(source, module)}
    foreign = packages - sys.stdlib_module_names - {"fslog"}
    assert foreign <= DEPENDENCIES | HOSTS.get(entry(module), set())


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("net.wire", "from fslog.handler import FreshsuccessHandler"),
        ("net.wire", "from fslog import handler"),
        ("net.wire", "import fslog.handler"),
        ("net.wire", "import fslog"),
        ("net.wire", "from fslog import FreshsuccessHandler"),
        ("net.wire", "def late():\n    from fslog.handler import FreshsuccessHandler"),
        ("net.wire", "if TYPE_CHECKING:\n    from fslog.handler import FreshsuccessHandler"),
        ("net.wire", "importlib.import_module('fslog.handler')"),
        ("config", "from fslog.net.wire import headers"),
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
        ("net.transport", "from fslog.net.wire import headers"),
        ("cli.ping", "from fslog import FreshsuccessHandler"),
        ("__main__", "from fslog.cli import main"),
        ("__init__", "from fslog import context"),
    ],
)
def test_an_import_that_points_downward_is_fine(module: str, source: str) -> None:
    """Imports from lower rows and the same package are no error."""
    assert upward(source, module) == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("mapping.paths", "from fslog.net.wire import headers", {"mapping", "net"}),
        ("mapping.paths", "from fslog.net import wire", {"mapping", "net"}),
        ("net.wire", "from fslog.net.transport import Transport", set()),
        ("net.wire", "from fslog.mapping import encoding", set()),
    ],
)
def test_a_circle_of_packages_is_found(module: str, source: str, found: set[str]) -> None:
    """A package that imports one which imports it is an error, even in the same row."""
    texts = {"net.retry": "import fslog.mapping.paths", module: source}
    assert set(cycle(graph_of(texts, entry))) == found


@pytest.mark.parametrize(
    "source",
    ["from fslog.net import transport", "import fslog.net.transport", "def late():\n    {}"],
)
def test_a_circle_of_modules_is_found(source: str) -> None:
    """Two modules of a package that import one another are an error."""
    source = source.format("from fslog.net.transport import Transport")
    texts = {"net.wire": source, "net.transport": "from fslog.net import wire"}
    assert set(cycle(graph_of(texts, module_of))) == {"net.wire", "net.transport"}
