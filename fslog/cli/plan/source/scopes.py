"""Scopes: which names a module binds, where, and to what; and the calls that may be log calls.

One pass over a syntax tree, without recursion, since source may be nested deeply.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

METHODS: dict[str, int | None] = {
    "debug": 10,
    "info": 20,
    "warn": 30,
    "warning": 30,
    "error": 40,
    "exception": 40,
    "critical": 50,
    "fatal": 50,
    "log": None,
}
"""The methods of a logger that log, with their levels; that of `log` is an argument."""

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_FLASK = frozenset({"Flask", "Quart"})
_OWN = frozenset({"module", "identify_user", "identify_account"})


class Binding(NamedTuple):
    """One binding of a name.

    Args:
        kind: `expression`, `import`, `function`, `class`, `parameter`, or `other` if the value
            cannot be found.
        node: the expression, the function, the class, the parameter or the import statement.
        name: of an import, what is imported from the module; empty for the module itself.
    """

    kind: str
    node: ast.AST | None = None
    name: str = ""


@dataclass(eq=False)
class Scope:
    """The names of a module, class, function or comprehension."""

    kind: str
    module: ModuleScopes
    node: ast.AST
    parent: Scope | None = None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    outer: dict[str, str] = field(default_factory=dict)
    """Names that `global` or `nonlocal` declares, with that word."""
    stars: list[ast.ImportFrom] = field(default_factory=list)

    def bind(self, name: str, binding: Binding) -> None:
        """Add a binding to the scope to which the name belongs."""
        scope: Scope | None = self
        if name in self.outer:
            scope = self.module.top if self.outer[name] == "global" else self.enclosing(name)
        (scope or self.module.top).bindings.setdefault(name, []).append(binding)

    def enclosing(self, name: str) -> Scope | None:
        """Return the next function around this one that binds a name."""
        scope = self.parent
        while scope is not None and (scope.kind != "function" or name not in scope.bindings):
            scope = scope.parent
        return scope

    def find(self, name: str) -> Scope | None:
        """Return the scope whose binding a name refers to; None for a builtin."""
        if self.outer.get(name) == "global":
            return self.module.top
        scope: Scope | None = self
        while scope is not None:
            # The names of a class body are not visible in the functions inside of it.
            if name in scope.bindings and (scope.kind != "class" or scope is self):
                return scope
            scope = scope.parent
        return None


class AttributeStore(NamedTuple):
    """An assignment to an attribute, such as `self.log = ...`; the value may be unknown."""

    scope: Scope
    target: ast.Attribute
    value: ast.expr | None


class CallNode(NamedTuple):
    """A call that may be a log call, and its scope."""

    scope: Scope
    node: ast.Call


@dataclass(eq=False)
class ModuleScopes:
    """The scopes of one module.

    Args:
        path: the file.
        names: its possible dotted names.
    """

    path: str
    names: tuple[str, ...] = ()
    is_run: bool = False
    """Whether it is run as a script: it has code for that, and no module imports it."""
    calls: list[CallNode] = field(default_factory=list)
    apps: list[CallNode] = field(default_factory=list)
    """Calls that create an application of Flask."""
    own: list[CallNode] = field(default_factory=list)
    """Calls that may be of fslog's own functions that log an event."""
    own_names: set[str] = field(default_factory=lambda: set(_OWN))
    """What these functions are called in the module."""
    bound: set[str] = field(default_factory=set)
    """Names of properties that `fslog.context` binds."""
    imports: set[str] = field(default_factory=set)
    """The absolute names of the modules that it imports."""
    members: set[tuple[int, str]] = field(default_factory=set)
    """What it imports of modules, which may be modules too: the dots that precede, and the name."""
    classes: list[Scope] = field(default_factory=list)
    stores: dict[str, list[AttributeStore]] = field(default_factory=dict)
    of_node: dict[ast.AST, Scope] = field(default_factory=dict)

    @property
    def top(self) -> Scope:
        """The scope of the module itself."""
        return self._top

    def __post_init__(self) -> None:
        self._top: Scope = Scope("module", self, ast.Module([], []))


def scopes(path: str, tree: ast.Module) -> ModuleScopes:
    """Return the scopes of a module, which has no names yet."""
    module = ModuleScopes(path)
    module.top.node = tree
    module.of_node[tree] = module.top
    todo: list[tuple[ast.AST, Scope]] = [(child, module.top) for child in reversed(tree.body)]
    while todo:
        node, scope = todo.pop()
        handle = _HANDLERS.get(type(node), _in_scope)
        todo.extend(reversed(handle(node, scope)))
    return module


_Work = list[tuple[ast.AST, Scope]]
"""What is still to be visited: nodes with their scopes."""


def _in_scope(node: ast.AST, scope: Scope) -> _Work:
    return [(child, scope) for child in ast.iter_child_nodes(node)]


def _nothing(node: ast.AST, scope: Scope) -> _Work:
    return []


def _function(node: ast.AST, scope: Scope) -> _Work:
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    inner = Scope("function", scope.module, node, scope)
    scope.module.of_node[node] = inner
    arguments = node.args
    outside: list[ast.AST] = [*arguments.defaults, *filter(None, arguments.kw_defaults)]
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        inner.bind(argument.arg, Binding("parameter", argument))
    for rest in (arguments.vararg, arguments.kwarg):
        if rest is not None:
            inner.bind(rest.arg, Binding("other"))
    if isinstance(node, ast.Lambda):
        return [*((one, scope) for one in outside), (node.body, inner)]
    scope.bind(node.name, Binding("function", node))
    outside += node.decorator_list
    _declare(node.body, inner)
    return [*((one, scope) for one in outside), *((one, inner) for one in node.body)]


def _declare(body: list[ast.stmt], scope: Scope) -> None:
    """Note `global` and `nonlocal` before the bindings that they are about."""
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            word = "global" if isinstance(node, ast.Global) else "nonlocal"
            scope.outer.update(dict.fromkeys(node.names, word))
        elif isinstance(node, ast.stmt) and not isinstance(
            node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        ):
            todo.extend(_statements(node))


_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def _statements(node: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    for name in _BLOCKS:
        for part in getattr(node, name, ()):
            if isinstance(part, ast.stmt):
                found.append(part)
            else:  # an `except` or a `case`
                found.extend(part.body)
    return found


def _class(node: ast.AST, scope: Scope) -> _Work:
    assert isinstance(node, ast.ClassDef)
    scope.bind(node.name, Binding("class", node))
    inner = Scope("class", scope.module, node, scope)
    scope.module.of_node[node] = inner
    scope.module.classes.append(inner)
    _declare(node.body, inner)
    outside: list[ast.AST] = [*node.decorator_list, *node.bases, *node.keywords]
    return [*((one, scope) for one in outside), *((one, inner) for one in node.body)]


def _comprehension(node: ast.AST, scope: Scope) -> _Work:
    inner = Scope("comprehension", scope.module, node, scope)
    scope.module.of_node[node] = inner
    return [(child, inner) for child in ast.iter_child_nodes(node)]


def _assign(node: ast.AST, scope: Scope) -> _Work:
    assert isinstance(node, ast.Assign)
    for target in node.targets:
        _bind_target(target, node.value, scope)
    return [(one, scope) for one in (node.value, *_inside(node.targets))]


def _annotated(node: ast.AST, scope: Scope) -> _Work:
    assert isinstance(node, ast.AnnAssign)
    if node.value is None:
        return []
    _bind_target(node.target, node.value, scope)
    return [(one, scope) for one in (node.value, *_inside([node.target]))]


def _walrus(node: ast.AST, scope: Scope) -> _Work:
    assert isinstance(node, ast.NamedExpr)
    outer = scope
    while outer.kind == "comprehension" and outer.parent is not None:
        outer = outer.parent
    outer.bind(node.target.id, Binding("expression", node.value))
    return [(node.value, scope)]


def _bind_target(target: ast.expr, value: ast.expr | None, scope: Scope) -> None:
    if isinstance(target, ast.Name):
        scope.bind(target.id, Binding("other" if value is None else "expression", value))
    elif isinstance(target, ast.Attribute):
        store = AttributeStore(scope, target, value)
        scope.module.stores.setdefault(target.attr, []).append(store)
    elif isinstance(target, ast.Starred):
        _bind_target(target.value, None, scope)
    elif isinstance(target, (ast.Tuple, ast.List)):
        values: list[ast.expr | None] = [None] * len(target.elts)
        if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(values):
            if not any(isinstance(one, ast.Starred) for one in target.elts + value.elts):
                values = list(value.elts)
        for one, its_value in zip(target.elts, values, strict=True):
            _bind_target(one, its_value, scope)


def _inside(targets: list[ast.expr]) -> list[ast.AST]:
    """Return the expressions in targets that are evaluated, such as `self` in `self.log`."""
    found: list[ast.AST] = []
    todo: list[ast.expr] = list(targets)
    while todo:
        target = todo.pop()
        if isinstance(target, (ast.Tuple, ast.List)):
            todo.extend(target.elts)
        elif isinstance(target, ast.Starred):
            todo.append(target.value)
        elif not isinstance(target, ast.Name):
            found.extend(ast.iter_child_nodes(target))
    return found


def _name(node: ast.AST, scope: Scope) -> _Work:
    # Every other target: of `for`, `with`, `del`, augmented assignments, type aliases.
    assert isinstance(node, ast.Name)
    if not isinstance(node.ctx, ast.Load):
        scope.bind(node.id, Binding("other"))
    return []


def _attribute(node: ast.AST, scope: Scope) -> _Work:
    assert isinstance(node, ast.Attribute)
    if not isinstance(node.ctx, ast.Load):
        _bind_target(node, None, scope)
    return [(node.value, scope)]


def _handler(node: ast.AST, scope: Scope) -> _Work:
    _bind_text(getattr(node, "name", None) or getattr(node, "rest", None), scope)
    return _in_scope(node, scope)


def _bind_text(name: str | None, scope: Scope) -> None:
    if name is not None:
        scope.bind(name, Binding("other"))


def _import(node: ast.AST, scope: Scope) -> _Work:
    assert isinstance(node, ast.Import)
    for alias in node.names:
        scope.module.imports.add(alias.name)
        scope.module.members.add((0, alias.name))
        if alias.asname is None:
            # `import a.b` binds `a`.
            first = alias.name.partition(".")[0]
            scope.bind(first, Binding("import", ast.Import([ast.alias(first)])))
        else:
            scope.bind(alias.asname, Binding("import", ast.Import([ast.alias(alias.name)])))
    return []


def _import_from(node: ast.AST, scope: Scope) -> _Work:
    assert isinstance(node, ast.ImportFrom)
    if not node.level and node.module is not None:
        scope.module.imports.add(node.module)
    prefix = f"{node.module}." if node.module else ""
    scope.module.members.update((node.level, f"{prefix}{alias.name}") for alias in node.names)
    if node.module:
        scope.module.members.add((node.level, node.module))
    for alias in node.names:
        if alias.name in _OWN and alias.asname is not None:
            scope.module.own_names.add(alias.asname)
        if alias.name == "*":
            scope.stars.append(node)
        else:
            scope.bind(alias.asname or alias.name, Binding("import", node, alias.name))
    return []


def _call(node: ast.AST, scope: Scope) -> _Work:
    assert isinstance(node, ast.Call)
    called = node.func
    word = called.attr if isinstance(called, ast.Attribute) else ""
    if isinstance(called, ast.Name):
        word = called.id
    if word in METHODS or isinstance(called, (ast.Name, ast.Call)):
        scope.module.calls.append(CallNode(scope, node))
    if word in _FLASK:
        scope.module.apps.append(CallNode(scope, node))
    if word in scope.module.own_names:
        scope.module.own.append(CallNode(scope, node))
    if word in ("bind", "bound"):
        scope.module.bound.update(one.arg for one in node.keywords if one.arg is not None)
    return _in_scope(node, scope)


def _compare(node: ast.AST, scope: Scope) -> _Work:
    assert isinstance(node, ast.Compare)
    is_package = scope.module.path.endswith("__init__.py")  # which is never run by itself
    if isinstance(node.left, ast.Name) and node.left.id == "__name__" and not is_package:
        scope.module.is_run = True
    return _in_scope(node, scope)


_HANDLERS: dict[type[ast.AST], Callable[[ast.AST, Scope], _Work]] = {
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
    ast.Lambda: _function,
    ast.ClassDef: _class,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.DictComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.NamedExpr: _walrus,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.ExceptHandler: _handler,
    ast.MatchAs: _handler,
    ast.MatchStar: _handler,
    ast.MatchMapping: _handler,
    ast.Import: _import,
    ast.ImportFrom: _import_from,
    ast.Call: _call,
    ast.Compare: _compare,
    ast.Constant: _nothing,
}
