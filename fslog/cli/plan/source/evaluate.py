"""The value of an expression, as far as the source says."""

from __future__ import annotations

import ast
import operator
import re
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from fslog.cli.plan.source.modules import Names
from fslog.cli.plan.source.scopes import (
    METHODS,
    AttributeStore,
    Binding,
    CallNode,
    FunctionNode,
    ModuleScopes,
    Scope,
)
from fslog.cli.plan.source.values import (
    UNKNOWN,
    ClassValue,
    Either,
    External,
    FlaskApp,
    Function,
    Instance,
    Items,
    Logger,
    Method,
    ModuleValue,
    Unknown,
    Value,
    either,
    is_known,
    joined,
    merged,
    options,
)

_DEPTH = 24
_STEPS = 3_000
"""Limits of one evaluation; beyond them the value is unknown."""

_NAMED_LOGGERS = frozenset(
    {
        "logging.getLogger",
        "logging.Logger",
        "celery.utils.log.get_logger",
        "celery.utils.log.get_task_logger",
        "kombu.log.get_logger",
    }
)
"""Functions whose argument is the logger's name."""

_STRUCTLOG = frozenset(
    {"structlog.get_logger", "structlog.getLogger", "structlog.stdlib.get_logger"}
)
"""What makes a logger of structlog; without a name it has the module's."""

_LEVELS = {
    f"logging.{name}": level
    for name, level in {
        "CRITICAL": 50,
        "FATAL": 50,
        "ERROR": 40,
        "WARNING": 30,
        "WARN": 30,
        "INFO": 20,
        "DEBUG": 10,
        "NOTSET": 0,
    }.items()
}

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
}
"""Operators that cannot take long, whatever the numbers are."""

_LOGGER_CLASSES = frozenset({"logging.Logger", "logging.RootLogger"})
_TYPED_DICTS = frozenset({"typing.TypedDict", "typing_extensions.TypedDict"})
_ADAPTER = "logging.LoggerAdapter"
_APPS = frozenset({"flask.Flask", "flask.app.Flask", "quart.Quart", "quart.app.Quart"})
_CURRENT_APPS = frozenset({"flask.current_app", "flask.globals.current_app", "quart.current_app"})

_KINDS = {
    **dict.fromkeys(("len", "int", "ord", "hash", "id"), "integer"),
    **dict.fromkeys(("float",), "number"),
    **dict.fromkeys(("repr", "ascii", "chr", "hex", "bin", "oct", "format"), "string"),
    **dict.fromkeys(("bool", "isinstance", "issubclass", "hasattr", "callable"), "boolean"),
    **dict.fromkeys(("list", "sorted"), "array"),
}
"""The JSON types of what builtins return."""

_TEXT_METHODS = frozenset(
    {
        *("split", "rsplit", "partition", "rpartition", "strip", "lstrip", "rstrip", "lower"),
        *("upper", "title", "capitalize", "replace", "removeprefix", "removesuffix"),
    }
)

_PROPERTIES = frozenset({"property", "cached_property"})
_TRANSPARENT = frozenset({"staticmethod", "classmethod", "cache", "lru_cache"}) | _PROPERTIES
"""Decorators that do not change what a function returns."""

_READING = frozenset({"get", "keys", "items", "values", "copy"})
"""Methods of a dict that do not change it."""

Given = Mapping[ast.arg, Value]
"""The arguments of the functions whose returned value is searched for."""

_NONE: Given = {}
_NOTHING = Either(())

_Key = tuple[Any, int]
"""An expression, or a scope and a name; and which arguments are given, 0 for none."""


class Program(Protocol):
    """The modules that are read."""

    names: Names

    def module(self, path: str) -> ModuleScopes | None:
        """Return a module that is imported; None if it cannot be read."""

    def modules(self) -> list[ModuleScopes]:
        """Return the modules that may concern loggers."""


class Evaluator:
    """Find what expressions of a program may be."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._known: dict[_Key, Value] = {}
        self._open: set[_Key] = set()
        self._cycles: set[_Key] = set()
        self._depth = 0
        self._steps = 0
        self._foreign: dict[str, list[AttributeStore]] | None = None
        self._children: dict[ast.AST, list[ClassValue]] | None = None
        self._lineages: dict[ast.AST, tuple[list[ClassValue], set[str]]] = {}
        self._uses: dict[tuple[Scope, str], tuple[set[str] | None, bool]] = {}

    def of(self, node: ast.AST, scope: Scope, given: Given = _NONE) -> Value:
        """Return the value of an expression in a scope."""
        find = _FINDERS.get(type(node))
        if find is None:
            return UNKNOWN
        return self._kept((node, id(given) if given else 0), lambda: find(self, node, scope, given))

    def _kept(self, key: _Key, find: Callable[[], Value]) -> Value:
        """Return a value that is searched for once, and within the limits."""
        if not self._depth:
            self._steps = 0
        if key in self._known:
            return self._known[key]
        self._steps += 1
        if self._depth >= _DEPTH or self._steps >= _STEPS:
            return UNKNOWN
        if key in self._open:  # a value that depends on itself adds nothing to what it may be
            self._cycles.add(key)
            return _NOTHING
        self._depth += 1
        self._open.add(key)
        try:
            value = find()
        finally:
            self._depth -= 1
            self._open.discard(key)
        self._cycles.discard(key)
        if value == _NOTHING and not self._cycles:
            value = UNKNOWN
        if not key[1] and not self._cycles:
            self._known[key] = value
        return value

    # Expressions, by their type.

    def _constant(self, node: Any, scope: Scope, given: Given) -> Value:
        value = node.value
        return value if value is None or isinstance(value, (str, int, float)) else UNKNOWN

    def _f_string(self, node: Any, scope: Scope, given: Given) -> Value:
        parts = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                is_plain = part.format_spec is None and part.conversion == -1
                value = self.of(part.value, scope, given) if is_plain else UNKNOWN
                parts.append(value if isinstance(value, (str, int)) else UNKNOWN)
            else:
                parts.append(self.of(part, scope, given))
        return joined(parts)

    def _operation(self, node: Any, scope: Scope, given: Given) -> Value:
        left = self.of(node.left, scope, given)
        if isinstance(node.op, ast.Mod) and _is_text(left):
            return merged(left)
        right = self.of(node.right, scope, given)
        if isinstance(node.op, ast.Add):
            if _is_text(left) or _is_text(right):
                return joined([left, right])
            if isinstance(left, list) and isinstance(right, list):
                return [*left, *right]
        if isinstance(node.op, ast.BitOr) and isinstance(left, Items) and isinstance(right, Items):
            return Items({**left, **right}, is_open=left.is_open or right.is_open)
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            calculate = _ARITHMETIC.get(type(node.op))
            return Unknown("number") if calculate is None else calculate(left, right)
        return UNKNOWN

    def _negation(self, node: Any, scope: Scope, given: Given) -> Value:
        if isinstance(node.op, ast.Not):
            return Unknown("boolean")
        value = self.of(node.operand, scope, given)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return -value if is_number and isinstance(node.op, ast.USub) else UNKNOWN

    def _alternatives(self, node: Any, scope: Scope, given: Given) -> Value:
        values = [self.of(one, scope, given) for one in node.values]
        if isinstance(node.op, ast.Or):
            values = [one for one in values[:-1] if one or not is_known(one)] + values[-1:]
        return either(values)

    def _conditional(self, node: Any, scope: Scope, given: Given) -> Value:
        return either([self.of(node.body, scope, given), self.of(node.orelse, scope, given)])

    def _comparison(self, node: Any, scope: Scope, given: Given) -> Value:
        return Unknown("boolean")

    def _assignment(self, node: Any, scope: Scope, given: Given) -> Value:
        return self.of(node.value, scope, given)

    def _dict(self, node: Any, scope: Scope, given: Given) -> Value:
        found = Items({})
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                found = _with(found, self.of(value, scope, given))
                continue
            name = self.of(key, scope, given)
            if isinstance(name, str):
                found[name] = self.of(value, scope, given)
            else:
                found.is_open = True
        return found

    def _list(self, node: Any, scope: Scope, given: Given) -> Value:
        if any(isinstance(one, ast.Starred) for one in node.elts):
            return Unknown("array")
        values = [self.of(one, scope, given) for one in node.elts]
        return tuple(values) if isinstance(node, ast.Tuple) else values

    def _list_made(self, node: Any, scope: Scope, given: Given) -> Value:
        return Unknown("array")

    def _dict_made(self, node: Any, scope: Scope, given: Given) -> Value:
        return Items({}, is_open=True)

    def _item(self, node: Any, scope: Scope, given: Given) -> Value:
        holder, key = self.of(node.value, scope, given), self.of(node.slice, scope, given)
        if isinstance(holder, Items) and isinstance(key, str) and not holder.is_open:
            return holder.get(key, UNKNOWN)
        if isinstance(holder, (list, tuple)) and isinstance(key, int):
            return holder[key] if -len(holder) <= key < len(holder) else UNKNOWN
        # A type with parameters, such as `LoggerAdapter[Logger]`.
        return holder if isinstance(holder, (External, ClassValue)) else UNKNOWN

    def _function(self, node: Any, scope: Scope, given: Given) -> Value:
        return Function(node, scope.module.of_node[node])

    # Names.

    def _name(self, node: Any, scope: Scope, given: Given) -> Value:
        return self._named(node.id, scope, given)

    def _named(self, name: str, scope: Scope, given: Given = _NONE) -> Value:
        owner = scope.find(name)
        if owner is None:
            return self._unbound(name, scope)
        value = self._kept(
            ((owner, name), id(given) if given else 0),
            lambda: either([self._bound(one, owner, given) for one in owner.bindings[name]]),
        )
        if _is_imported_over(owner, name):
            value = either([value, UNKNOWN])
        if isinstance(value, (Items, list)):
            return self._unchanged(name, owner, value)
        return value

    def _unbound(self, name: str, scope: Scope) -> Value:
        module = scope.module
        if name == "__name__":
            names = [*module.names, *(["__main__"] if module.is_run else [])]
            return either(list(names))
        if name == "__package__":
            is_package = module.path.endswith("__init__.py")
            packages = [one if is_package else one.rpartition(".")[0] for one in module.names]
            return either(list(packages))
        if name.startswith("__"):
            return UNKNOWN
        for star in module.top.stars:
            target = self._imported_module(star, module)
            imported = None if target is None else self._program.module(target)
            if imported is None:
                return UNKNOWN
            if name in imported.top.bindings:
                return self._named(name, imported.top)
            if imported.top.stars:
                return UNKNOWN
        return External(f"builtins.{name}")

    def _bound(self, binding: Binding, owner: Scope, given: Given) -> Value:
        node = binding.node
        if binding.kind == "expression" and node is not None:
            return self.of(node, owner, given)
        if binding.kind == "import":
            return self._imported(node, binding.name, owner)
        if binding.kind == "class":
            assert isinstance(node, ast.ClassDef)
            return ClassValue(node, owner.module.of_node[node])
        if binding.kind == "function":
            assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            return Function(node, owner.module.of_node[node])
        if binding.kind == "parameter":
            assert isinstance(node, ast.arg)
            return given[node] if node in given else self._parameter(node, owner)
        return UNKNOWN

    def _parameter(self, node: ast.arg, scope: Scope) -> Value:
        owner = _self_class(node, scope)
        if owner is not None:
            return Instance(owner)
        if node.annotation is None or scope.parent is None:
            return UNKNOWN
        return self._annotated(node.annotation, scope.parent)

    def _annotated(self, node: ast.expr, scope: Scope) -> Value:
        """Return a logger if a type says so."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                node = ast.parse(node.value, mode="eval").body
            except (SyntaxError, ValueError, RecursionError):
                return UNKNOWN
        if isinstance(node, ast.BinOp):  # X | None
            node = node.left
        if isinstance(node, ast.Subscript) and _last_name(node.value) == "Optional":
            node = node.slice
        found = self.of(node, scope)
        if isinstance(found, External) and found.name in _LOGGER_CLASSES:
            return Logger(UNKNOWN)
        if isinstance(found, External) and found.name == _ADAPTER:
            return Logger(UNKNOWN, is_custom=True)
        return UNKNOWN

    def _unchanged(self, name: str, scope: Scope, value: Value) -> Value:
        """Return a dict or list that a name is bound to, and how far it may have changed."""
        key = (scope, name)
        if key not in self._uses:
            self._uses[key] = _added_keys(name, scope)
        added, is_read = self._uses[key]
        if isinstance(value, list):
            return value if added == set() else Unknown("array")
        if added is None:
            return Items(value, is_open=True)
        unsure = Unknown(may_be_absent=True)
        kept = {key: _unless_changed(one) for key, one in value.items()} if is_read else value
        return Items({**kept, **dict.fromkeys(added, unsure)}, is_open=value.is_open)

    # Imports.

    def _imported(self, node: ast.AST | None, name: str, owner: Scope) -> Value:
        if isinstance(node, ast.Import):
            return self._module_value(node.names[0].name, owner.module.path)
        assert isinstance(node, ast.ImportFrom)
        target = self._imported_module(node, owner.module)
        if target is None:
            module = f"{'.' * node.level}{node.module or ''}"
            return self.attribute(External(module), name, owner)
        return self._of_module(target, name)

    def _imported_module(self, node: ast.ImportFrom, module: ModuleScopes) -> str | None:
        if node.level:
            return self._program.names.relative(module.path, node.level, node.module or "")
        return self._program.names.path_of(node.module or "", module.path)

    def _module_value(self, name: str, path: str) -> Value:
        found = None if name.startswith(".") else self._program.names.path_of(name, path)
        return External(name) if found is None else ModuleValue(found)

    def _of_module(self, path: str, name: str) -> Value:
        module = self._program.module(path)
        if module is not None and (name in module.top.bindings or module.top.stars):
            return self._named(name, module.top)
        if module is not None and name == "__name__":
            return either(list(module.names))
        found = self._program.names.relative(path, 1, name) if path.endswith("__init__.py") else ""
        return ModuleValue(found) if found else UNKNOWN

    # Attributes.

    def _attribute(self, node: Any, scope: Scope, given: Given) -> Value:
        return self.attribute(self.of(node.value, scope, given), node.attr, scope)

    def attribute(self, holder: Value, name: str, scope: Scope) -> Value:
        """Return an attribute of a value."""
        if isinstance(holder, Either):
            return either([self.attribute(one, name, scope) for one in holder.options])
        logger = self.logger(holder)
        if logger is not None:
            return _of_logger(logger, name, holder, self._class_attribute)
        if isinstance(holder, External):
            return self._of_external(holder.name, name, scope)
        if isinstance(holder, ModuleValue):
            return self._of_module(holder.path, name)
        if isinstance(holder, FlaskApp):
            return Logger(holder.name) if name == "logger" else UNKNOWN
        if isinstance(holder, (ClassValue, Instance)):
            return self._class_attribute(holder, name)
        return UNKNOWN

    def logger(self, value: Value) -> Logger | None:
        """Return the logger that a value is; None if it is none."""
        if isinstance(value, Logger):
            return value
        if isinstance(value, External) and value.name in ("logging", "logging.root"):
            return Logger("root")
        if isinstance(value, Instance):
            bases = self._lineage(value.of)[1]
            if _LOGGER_CLASSES & bases or _ADAPTER in bases:
                return Logger(UNKNOWN, is_custom=True)
        return None

    def _of_external(self, module: str, name: str, scope: Scope) -> Value:
        full = f"{module}.{name}"
        if module in _CURRENT_APPS and name == "logger":
            return either([Logger(app.name) for app in self._apps()])
        path = scope.module.path
        found = None if module.startswith(".") else self._program.names.path_of(full, path)
        return External(full) if found is None else ModuleValue(found)

    def _apps(self) -> list[FlaskApp]:
        calls = [call for module in self._program.modules() for call in module.apps]
        found = (one for call in calls for one in options(self.of(call.node, call.scope)))
        return [one for one in found if isinstance(one, FlaskApp)]

    # Classes.

    def _class_attribute(self, holder: Instance | ClassValue, name: str) -> Value:
        of = holder if isinstance(holder, ClassValue) else holder.of
        family = [of]
        if isinstance(holder, Instance):
            family = self._descendants(of)
        if name == "__class__":
            return either(list(family))
        if name in ("__name__", "__qualname__", "__module__"):
            return either([part for one in family for part in _identity(one, name)])
        lineage = self._lineage(of)[0]
        defining = [next((one for one in lineage if name in one.scope.bindings), None)]
        defining += [one for one in family[1:] if name in one.scope.bindings]
        found = []
        for one in filter(None, defining):
            found += [self._member(each, one, holder) for each in one.scope.bindings[name]]
        for one in {id(one.node): one for one in (*lineage, *family)}.values():
            found += [
                UNKNOWN if store.value is None else self.of(store.value, store.scope)
                for store in _stores_of(one, name)
            ]
        if found:
            found += self._stored_elsewhere(name)
        return either(found)

    def _member(self, binding: Binding, owner: ClassValue, holder: Instance | ClassValue) -> Value:
        if binding.kind != "function":
            return self._bound(binding, owner.scope, _NONE)
        node = binding.node
        assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        function = Function(node, owner.scope.module.of_node[node], holder)
        is_property = any(_last_name(one) in _PROPERTIES for one in node.decorator_list)
        return self._returned(function, [], {}) if is_property else function

    def _stored_elsewhere(self, name: str) -> Iterator[Value]:
        """Yield the loggers that other code assigns to an attribute of that name."""
        if self._foreign is None:
            self._foreign = {}
            for module in self._program.modules():
                for stores in module.stores.values():
                    for store in stores:
                        if store.value is not None and _owner_of(store) is None:
                            self._foreign.setdefault(store.target.attr, []).append(store)
        for store in self._foreign.get(name, ()):
            holder = self.of(store.target.value, store.scope)
            if store.value is None or isinstance(holder, (Instance, ClassValue, ModuleValue)):
                continue
            for value in options(self.of(store.value, store.scope)):
                if isinstance(value, Logger):
                    yield value

    def _lineage(self, of: ClassValue) -> tuple[list[ClassValue], set[str]]:
        """Return a class and its bases in the source, and the names of the other ones."""
        if of.node in self._lineages:
            return self._lineages[of.node]
        found, external = [of], set[str]()
        self._lineages[of.node] = (found, external)
        for base in of.node.bases:
            for value in options(self.of(base, of.scope.parent or of.scope)):
                if isinstance(value, ClassValue):
                    classes, names = self._lineage(value)
                    found += [one for one in classes if one not in found]
                    external |= names
                else:
                    external.add(value.name if isinstance(value, External) else "")
        return found, external

    def _descendants(self, of: ClassValue) -> list[ClassValue]:
        """Return a class and its subclasses in the source."""
        if self._children is None:
            self._children = {}
            for module in self._program.modules():
                for scope in module.classes:
                    assert isinstance(scope.node, ast.ClassDef)
                    child = ClassValue(scope.node, scope)
                    for base in self._lineage(child)[0][1:]:
                        self._children.setdefault(base.node, []).append(child)
        return [of, *self._children.get(of.node, ())]

    # Calls.

    def _call(self, node: Any, scope: Scope, given: Given) -> Value:
        arguments = [
            UNKNOWN if isinstance(one, ast.Starred) else self.of(one, scope, given)
            for one in node.args
        ]
        named = {one.arg: self.of(one.value, scope, given) for one in node.keywords if one.arg}
        spread = [self.of(one.value, scope, given) for one in node.keywords if one.arg is None]
        if isinstance(node.func, ast.Attribute):
            holder = self.of(node.func.value, scope, given)
            made = self._of_method(holder, node.func.attr, arguments)
            if made is not None:
                return made
        called = self.of(node.func, scope, given)
        is_sure = not spread and not any(isinstance(one, ast.Starred) for one in node.args)
        if isinstance(called, External) and called.name == "builtins.dict":
            return _dict_of(arguments, named, spread)
        return either(
            [self._made(one, arguments, named, is_sure, scope) for one in options(called)]
        )

    def _of_method(self, holder: Value, name: str, arguments: list[Value]) -> Value | None:
        """Return what a method of a text, a dict or a logger returns; None for any other."""
        if name == "format" and _is_text(holder):
            return _formatted(holder)
        if name in _TEXT_METHODS and isinstance(holder, str):
            if not all(isinstance(one, (str, int)) for one in arguments):
                return UNKNOWN
            try:
                return getattr(holder, name)(*arguments)
            except (TypeError, ValueError):
                return UNKNOWN
        if name == "copy" and isinstance(holder, Items):
            return holder
        loggers = [self.logger(one) for one in options(holder)]
        if name in ("bind", "new", "unbind") and loggers and None not in loggers:
            return either([one for one in loggers if one is not None and not one.is_sure])
        if name == "getChild" and None not in loggers and arguments:
            return either([_child(one, arguments[0]) for one in loggers if one is not None])
        return None

    def _made(
        self,
        called: Value,
        arguments: list[Value],
        named: dict[str, Value],
        is_sure: bool,
        scope: Scope,
    ) -> Value:
        if isinstance(called, Function):
            return self._returned(called, arguments, named) if is_sure else UNKNOWN
        if isinstance(called, ClassValue):
            return self._instance(called, arguments, named, is_sure)
        if not isinstance(called, External):
            return UNKNOWN
        if not is_sure:
            arguments, named = [UNKNOWN], {}
        name = called.name
        if name in _NAMED_LOGGERS:
            given = arguments[0] if arguments else named.get("name")
            return either([_logger_named(one) for one in options(given)])
        if name in _STRUCTLOG:
            given = arguments[0] if arguments else self._unbound("__name__", scope)
            return either([replace(_logger_named(one), is_sure=False) for one in options(given)])
        if name == _ADAPTER:
            return self._adapter(arguments, named)
        if name in _APPS:
            given = arguments[0] if arguments else named.get("import_name", UNKNOWN)
            return either([_app(one, scope) for one in options(given)])
        if name == "multiprocessing.get_logger":
            return Logger("multiprocessing")
        return self._builtin(name.removeprefix("builtins."), arguments, scope)

    def _builtin(self, name: str, arguments: list[Value], scope: Scope) -> Value:
        if name == "str" and arguments:
            return joined(arguments[:1])
        if name == "getattr" and len(arguments) > 1 and isinstance(arguments[1], str):
            return either([self.attribute(arguments[0], arguments[1], scope), *arguments[2:]])
        if name == "type" and len(arguments) == 1:
            return self.attribute(arguments[0], "__class__", scope)
        return Unknown(_KINDS[name]) if name in _KINDS else UNKNOWN

    def _instance(
        self, of: ClassValue, arguments: list[Value], named: dict[str, Value], is_sure: bool
    ) -> Value:
        lineage, bases = self._lineage(of)
        if _TYPED_DICTS & bases:
            return _dict_of(arguments, named, [] if is_sure else [UNKNOWN])
        defined = {name for one in lineage for name in one.scope.bindings}
        first = arguments[0] if arguments and is_sure and "__init__" not in defined else UNKNOWN
        if _ADAPTER in bases:
            changes = defined & {"process", "makeRecord", "_log", *METHODS}
            if changes or "__init__" in defined or not is_sure:
                names = [one.name for one in map(self.logger, options(first)) if one is not None]
                return either([Logger(name, is_custom=True) for name in names or [UNKNOWN]])
            return self._adapter(arguments, named)
        if _LOGGER_CLASSES & bases:
            return Logger(first if isinstance(first, str) else UNKNOWN, is_custom=True)
        if _APPS & bases:
            return either([_app(one, of.scope) for one in options(first)])
        return Instance(of)

    def _adapter(self, arguments: list[Value], named: dict[str, Value]) -> Value:
        of = arguments[0] if arguments else named.get("logger", UNKNOWN)
        extra = arguments[1] if len(arguments) > 1 else named.get("extra")
        extra = Items({}) if extra is None else extra
        is_merging = len(arguments) > 2 or "merge_extra" in named
        return either(
            [
                # An adapter of an adapter replaces the extras once more.
                Logger(one.name, extra, is_merging or one.extra is not None or one.is_custom)
                if one is not None
                else UNKNOWN
                for one in map(self.logger, options(of))
            ]
        )

    def _returned(
        self, function: Function, arguments: list[Value], named: dict[str, Value]
    ) -> Value:
        """Return what a function returns for some arguments."""
        node = function.node
        if isinstance(node, ast.Lambda):
            bodies: list[ast.expr] = [node.body]
        else:
            is_plain = all(_last_name(one) in _TRANSPARENT for one in node.decorator_list)
            if isinstance(node, ast.AsyncFunctionDef) or not is_plain:
                return UNKNOWN
            found = _returns(node)
            if found is None:
                return UNKNOWN
            bodies = found
        given = self._given(function, arguments, named)
        value = either([self.of(body, function.scope, given) for body in bodies])
        returns = getattr(node, "returns", None)
        if value == UNKNOWN and returns is not None:
            value = self._annotated(returns, function.scope.parent or function.scope)
        return value

    def _given(
        self, function: Function, arguments: list[Value], named: dict[str, Value]
    ) -> dict[ast.arg, Value]:
        spec = function.node.args
        positional = [*spec.posonlyargs, *spec.args]
        outside = function.scope.parent or function.scope
        given: dict[ast.arg, Value] = {}
        for one, default in zip(reversed(positional), reversed(spec.defaults), strict=False):
            given[one] = self.of(default, outside)
        for one, its_default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
            if its_default is not None:
                given[one] = self.of(its_default, outside)
        owner = function.owner
        decorators = getattr(function.node, "decorator_list", ())
        if owner is not None and "staticmethod" not in map(_last_name, decorators):
            is_bound = isinstance(owner, Instance) or "classmethod" in map(_last_name, decorators)
            arguments = [owner, *arguments] if is_bound else arguments
        given.update(zip(positional, arguments, strict=False))
        for one in (*spec.args, *spec.kwonlyargs):
            if one.arg in named:
                given[one] = named[one.arg]
        # A marker, so that the value is not kept as the one for any arguments.
        return given or {ast.arg("", None): UNKNOWN}


_FINDERS: dict[type[ast.AST], Callable[[Evaluator, Any, Scope, Given], Value]] = {
    ast.Constant: Evaluator._constant,
    ast.JoinedStr: Evaluator._f_string,
    ast.BinOp: Evaluator._operation,
    ast.UnaryOp: Evaluator._negation,
    ast.BoolOp: Evaluator._alternatives,
    ast.IfExp: Evaluator._conditional,
    ast.Compare: Evaluator._comparison,
    ast.NamedExpr: Evaluator._assignment,
    ast.Dict: Evaluator._dict,
    ast.List: Evaluator._list,
    ast.Tuple: Evaluator._list,
    ast.ListComp: Evaluator._list_made,
    ast.DictComp: Evaluator._dict_made,
    ast.Subscript: Evaluator._item,
    ast.Lambda: Evaluator._function,
    ast.Name: Evaluator._name,
    ast.Attribute: Evaluator._attribute,
    ast.Call: Evaluator._call,
}


def _is_text(value: Value) -> bool:
    return isinstance(value, str) or (isinstance(value, Unknown) and value.parts is not None)


def _formatted(text: Value) -> Value:
    """Return a text after `format`: each field is unknown."""
    parts: list[Value] = []
    for piece in (text,) if isinstance(text, str) else text.parts:
        if piece is None:
            parts.append(UNKNOWN)
            continue
        try:
            for literal, field, _, _ in string.Formatter().parse(piece):
                parts += [literal, *([] if field is None else [UNKNOWN])]
        except ValueError:
            parts.append(UNKNOWN)
    return joined(parts)


def _with(items: Items, more: Value) -> Items:
    """Return a dict with those of another one, which may be unknown."""
    if not isinstance(more, Items):
        return Items(items, is_open=True)
    return Items({**items, **more}, is_open=items.is_open or more.is_open)


def _dict_of(arguments: list[Value], named: dict[str, Value], spread: list[Value]) -> Items:
    found = Items({})
    for one in (*arguments[:1], *spread, Items(named)):
        found = _with(found, one)
    return found


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return _last_name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _of_logger(
    logger: Logger,
    name: str,
    holder: Value,
    of_class: Callable[[Any, str], Value],
) -> Value:
    if isinstance(holder, External):
        if name in METHODS:
            return Method(logger, name)
        full = f"{holder.name}.{name}"
        return _LEVELS.get(full, External(full))
    if name in METHODS:
        return Method(logger, name)
    if name == "name":
        return logger.name
    if isinstance(holder, Instance):
        return of_class(holder, name)
    return Logger(logger.name) if name == "logger" and logger.extra is not None else UNKNOWN


def _logger_named(name: Value) -> Logger:
    if name is None or name in ("", "root"):
        return Logger("root")
    return Logger(name if isinstance(name, (str, Unknown)) else UNKNOWN)


def _child(logger: Logger, suffix: Value) -> Logger:
    is_root = logger.name == "root"
    name = suffix if is_root else joined([logger.name, ".", suffix])
    return Logger(name if isinstance(name, (str, Unknown)) else UNKNOWN)


def _app(name: Value, scope: Scope) -> FlaskApp:
    if name == "__main__":  # Flask's own name for it
        return FlaskApp(scope.module.names[0].rpartition(".")[2])
    return FlaskApp(name if isinstance(name, (str, Unknown)) else UNKNOWN)


def _identity(of: ClassValue, name: str) -> list[Value]:
    if name == "__module__":
        return list(of.scope.module.names)
    is_top = of.scope.parent is of.scope.module.top
    return [of.node.name if name == "__name__" or is_top else UNKNOWN]


def _self_class(node: ast.arg, scope: Scope) -> ClassValue | None:
    """Return the class of which a parameter is the instance, or which it is; None if neither."""
    function, outer = scope.node, scope.parent
    if outer is None or outer.kind != "class" or isinstance(function, ast.Lambda):
        return None
    assert isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
    positional = [*function.args.posonlyargs, *function.args.args]
    if not positional or positional[0] is not node:
        return None
    if any(_last_name(one) == "staticmethod" for one in function.decorator_list):
        return None
    assert isinstance(outer.node, ast.ClassDef)
    return ClassValue(outer.node, outer)


def _owner_of(store: AttributeStore) -> Scope | None:
    """Return the class whose method assigns to an attribute of its own instance."""
    target = store.target.value
    if not isinstance(target, ast.Name):
        return None
    scope = store.scope.find(target.id)
    if scope is None or len(scope.bindings[target.id]) != 1:
        return None
    parameter = scope.bindings[target.id][0].node
    of = _self_class(parameter, scope) if isinstance(parameter, ast.arg) else None
    return None if of is None else of.scope


def _stores_of(of: ClassValue, name: str) -> Iterator[AttributeStore]:
    for store in of.scope.module.stores.get(name, ()):
        if _owner_of(store) is of.scope:
            yield store


def _returns(node: FunctionNode) -> list[ast.expr] | None:
    """Return what the `return` statements of a function return; None for a generator."""
    found: list[ast.expr] = []
    todo: list[ast.AST] = list(ast.iter_child_nodes(node))
    while todo:
        one = todo.pop()
        if isinstance(one, (ast.Yield, ast.YieldFrom)):
            return None
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(one, ast.Return) and one.value is not None:
            found.append(one.value)
        todo.extend(ast.iter_child_nodes(one))
    return found


def _is_imported_over(scope: Scope, name: str) -> bool:
    """Return whether a later `from module import *` may bind a name anew.

    A name that is imported itself is probably the same one there.
    """
    found = [one for one in scope.bindings[name] if one.kind != "import"]
    lines = [getattr(one.node, "lineno", 0) for one in found]
    return bool(lines) and any(star.lineno > min(lines) for star in scope.stars)


def _unless_changed(value: Value) -> Value:
    """Return an item of a dict that something else may have changed since."""
    if isinstance(value, Items):
        return Items(value, is_open=True)
    return Unknown("array") if isinstance(value, list) else value


def _added_keys(name: str, scope: Scope) -> tuple[set[str] | None, bool]:
    """Return the keys that may be added to the dict that a name is bound to, and if it is read.

    None means any key. A name that is only read, as `extra=name`, `**name` or `name["key"]`, leaves
    the dict as it is.
    """
    added: set[str] = set()
    allowed: set[int] = set()
    reads: set[int] = set()
    used: list[ast.Name] = []
    for node in ast.walk(scope.node):
        if isinstance(node, ast.Name):
            if node.id == name and isinstance(node.ctx, ast.Load):
                used.append(node)
        elif isinstance(node, ast.keyword):
            if node.arg in (None, "extra"):
                allowed.add(id(node.value))
        elif isinstance(node, ast.Dict):
            allowed.update(id(v) for k, v in zip(node.keys, node.values, strict=True) if k is None)
        elif isinstance(node, ast.Subscript):
            if isinstance(node.ctx, ast.Load):
                allowed.add(id(node.value))
                reads.add(id(node.value))
            elif isinstance(node.value, ast.Name) and node.value.id == name:
                key = node.slice
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    added.add(key.value)
                    allowed.add(id(node.value))
        elif isinstance(node, ast.Attribute):
            if node.attr in _READING:
                allowed.add(id(node.value))
                reads.add(id(node.value))
        elif isinstance(node, ast.BinOp):
            allowed.update((id(node.left), id(node.right)))
        elif isinstance(node, ast.Compare):
            allowed.update(map(id, node.comparators))
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in ("dict", "len", "str", "repr"):
                allowed.update(map(id, node.args))
    is_read = any(id(one) in reads for one in used)
    return (added if all(id(one) in allowed for one in used) else None), is_read


def is_log_name(node: ast.AST) -> bool:
    """Return whether an expression is called like a logger.

    >>> [is_log_name(ast.parse(text, mode="eval").body)
    ...  for text in ("self._log", "get_logger()", "self.audit_log", "catalog", "math")]
    [True, True, True, False, False]
    """
    return _LOG_NAME.search(_last_name(node)) is not None


_LOG_NAME = re.compile(r"(?:^|_)(?:log|Log|LOG)(?:s|ging|GING)?(?:_|$)|(?i:logger)|[a-z]Log$")


def candidates(module: ModuleScopes) -> Iterator[tuple[CallNode, ast.AST | None, str]]:
    """Yield the calls that may be log calls, with the receiver and the method's name.

    The receiver is None, and the name that of a variable, if the method was bound to it before; the
    method's name is empty if it is computed.
    """
    for call in module.calls:
        called = call.node.func
        if isinstance(called, ast.Attribute):
            yield call, called.value, called.attr
        elif isinstance(called, ast.Name):
            if _is_method(called.id, call.scope):
                yield call, None, called.id
        elif isinstance(called, ast.Call) and _last_name(called.func) == "getattr":
            if len(called.args) > 1:
                key = called.args[1]
                is_named = isinstance(key, ast.Constant) and isinstance(key.value, str)
                yield call, called.args[0], key.value if is_named else ""  # type: ignore[attr-defined]


def _is_method(name: str, scope: Scope) -> bool:
    owner = scope.find(name)
    for binding in () if owner is None else owner.bindings[name]:
        node = binding.node
        if isinstance(node, ast.Attribute) and node.attr in METHODS:
            return True
        if isinstance(node, ast.ImportFrom) and binding.name in METHODS:
            return True
    return False
