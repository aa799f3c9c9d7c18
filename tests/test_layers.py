"""The structure of the package: imports point downward and have no cycles."""

from __future__ import annotations

import ast
import functools
import graphlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fslog

PACKAGE = Path(fslog.__file__).resolve().parent

# The rows of the table in the guide's topic `design`, the lowest layer first. An entry is a
# top-level module, or a package with all of its modules; `__init__` is the package fslog itself.
ROWS = [
    [
        *("version", "errors", "counters", "events", "context"),
        *("types", "interrupts", "process", "config"),
    ],
    ["mapping", "net"],
    ["plan"],
    ["formatter", "capture", "spool", "delivery", "collector"],
    ["handler", "identify"],
    ["__init__"],
    ["metrics", "testing", "viewer", "pytest_plugin", "integrations", "auto", "cli", "__main__"],
]
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row}

DEPENDENCIES = {"pythonjsonlogger", "urllib3", "backoff"}
HOSTS = {
    "delivery": {"celery"},
    "metrics": {"opentelemetry"},
    "pytest_plugin": {"pytest"},
    "integrations": {"aiohttp", "asgiref", "celery", "django", "flask", "rq"},
    "process": {"_interpreters", "_xxsubinterpreters"},
}
"""Imports that are not dependencies.

pytest itself loads the plugin, and an application of a framework its integration, one with
OpenTelemetry that of its metrics; of Celery the
module with its signals is imported if the application has imported Celery. Each CPython has
at most one of the two modules of `process`.
"""

APPLICATIONS = {"integrations.aws"}
"""Modules that import one of the application's, by a name that it gives."""

IMPORTER = re.compile(r"\b(import_module|__import__)$")

EMPTY = ["mapping", "net", "plan", "spool", "delivery", "integrations"]
"""Packages whose `__init__` imports nothing, so that one module does not load the others."""

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def entry(name: str) -> str:
    """Return the entry that contains a module or name, which is given without `fslog.`."""
    first = name.partition(".")[0]
    return first if first in RANK else "__init__"


@functools.cache
def imports(source: str, module: str) -> tuple[str, ...]:
    """Return the full name of every import in a module, including those inside functions."""
    return tuple(_imports(source, module))


def _imports(source: str, module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: relative import"
            # The imported name may be a module itself: `from fslog import context`.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and IMPORTER.search(ast.unparse(node.func)):
            name = node.args[0]
            if module in APPLICATIONS and isinstance(name, ast.Name):
                continue
            assert isinstance(name, ast.Constant), f"{module}, line {node.lineno}: not a literal"
            yield name.value


def own_imports(source: str, module: str) -> set[str]:
    """Return the names that a module imports from fslog, without `fslog.`."""
    found = (name.partition(".") for name in imports(source, module))
    return {rest for package, _, rest in found if package == "fslog"}


def upward(source: str, module: str) -> list[str]:
    """Return the entries in higher rows that a module imports from."""
    found = {entry(name) for name in own_imports(source, module)}
    return sorted(name for name in found if RANK[name] > RANK[entry(module)])


def module_of(name: str) -> str:
    """Return the module that a name is, or that defines it."""
    while name and name not in MODULES and f"{name}.__init__" not in MODULES:
        name = name.rpartition(".")[0]
    return name if name in MODULES else f"{name}.__init__".lstrip(".")


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return the nodes of a cycle, empty if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def graph_of(sources: dict[str, str], node: Callable[[str], str]) -> dict[str, set[str]]:
    """Return the import graph of the modules in `sources`; `node` maps a name to its node."""
    graph: dict[str, set[str]] = {}
    for module, source in sources.items():
        found = {node(name) for name in own_imports(source, module)}
        graph.setdefault(node(module), set()).update(found - {node(module)})
    return graph


def sources() -> dict[str, str]:
    """Return the source of every module."""
    return {module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}


def test_the_table_lists_every_module() -> None:
    """Every top-level module and package is in the table, and every entry exists."""
    assert {module.partition(".")[0] for module in MODULES} == set(RANK)


@pytest.mark.parametrize("package", EMPTY)
def test_the_init_of_a_package_imports_nothing(package: str) -> None:
    """Importing one module of the package does not load the imports of the others."""
    path = PACKAGE / package / "__init__.py"
    assert not list(imports(path.read_text(encoding="utf-8"), package))


def test_the_guide_shows_the_table() -> None:
    """The guide's topic `design` has the same rows with the same entries."""
    text = (PACKAGE / "guide" / "design.md").read_text(encoding="utf-8")
    _, _, table = text.partition("\n| row | module")
    rows = re.findall(r"^\| \d \| ([^|]*) \|", table, re.MULTILINE)
    assert [re.findall(r"`(\w+)", row) for row in rows] == ROWS


def test_imports_do_not_point_upward() -> None:
    """A module imports from its own row and lower ones, also in functions and for type hints."""
    found = {module: upward(source, module) for module, source in sources().items()}
    assert found == {module: [] for module in MODULES}


def test_packages_have_no_import_cycle() -> None:
    """Imports between packages and top-level modules have no cycle, even within a row."""
    assert cycle(graph_of(sources(), entry)) == []


def test_modules_have_no_import_cycle() -> None:
    """Imports between modules have no cycle, even within a package."""
    assert cycle(graph_of(sources(), module_of)) == []


def test_only_the_declared_dependencies_are_imported() -> None:
    """fslog imports only the standard library, itself and its three dependencies."""
    found = {}
    for module, source in sources().items():
        packages = {name.partition(".")[0] for name in imports(source, module)}
        foreign = packages - sys.stdlib_module_names - {"fslog"}
        found[module] = foreign - DEPENDENCIES - HOSTS.get(entry(module), set())
    assert found == {module: set() for module in MODULES}


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
    """Every form of an upward import is detected."""
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
def test_an_import_that_points_downward_is_allowed(module: str, source: str) -> None:
    """Imports from lower rows and from the same package are allowed."""
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
def test_a_cycle_of_packages_is_found(module: str, source: str, found: set[str]) -> None:
    """Two packages that import each other are detected, even in the same row."""
    texts = {"net.retry": "import fslog.mapping.paths", module: source}
    assert set(cycle(graph_of(texts, entry))) == found


@pytest.mark.parametrize(
    "source",
    ["from fslog.net import transport", "import fslog.net.transport", "def late():\n    {}"],
)
def test_a_cycle_of_modules_is_found(source: str) -> None:
    """Two modules of a package that import each other are detected."""
    source = source.format("from fslog.net.transport import Transport")
    texts = {"net.wire": source, "net.transport": "from fslog.net import wire"}
    assert set(cycle(graph_of(texts, module_of))) == {"net.wire", "net.transport"}
