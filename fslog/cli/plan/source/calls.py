"""Log calls: their loggers, levels, messages, arguments and extras, and comments that say more."""

from __future__ import annotations

import ast
import io
import os
import re
import sys
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass, field

from fslog.cli.plan.source import own
from fslog.cli.plan.source.evaluate import Evaluator, candidates, is_log_name
from fslog.cli.plan.source.modules import Names, Unparsed, parse, python_files
from fslog.cli.plan.source.scopes import METHODS, CallNode, ModuleScopes, Scope, scopes
from fslog.cli.plan.source.values import (
    UNKNOWN,
    External,
    Items,
    Logger,
    Method,
    Unknown,
    Value,
    either,
    options,
)
from fslog.config import garbage_kept

_COMMENT = re.compile(r"#\s*fslog:\s*(?P<rest>.*)")
_EVENT = re.compile(r"""event\s*=\s*(?:"([^"]*)"|'([^']*)')\s*""")


@dataclass(frozen=True)
class LogCall:
    """A log call, as far as the source says.

    Args:
        path, line, end_line: where it is.
        certainty: `logger` if its receiver is a logger, `likely` if it is called like one,
            `unlikely` for any other that has such a method.
        logger: the logger's name, which may be `Unknown` or `Either`.
        level: None if it is computed.
        message: the unformatted message.
        args: the record's arguments: a tuple, or a dict; None if their number is unknown.
        extras: those of the record, an adapter's included.
        module: the last part of the module's name.
        function: the name of the function that contains it; None if that depends on the Python.
    """

    path: str
    line: int
    end_line: int
    certainty: str
    logger: Value
    level: int | None
    message: Value
    args: tuple[Value, ...] | Items | None
    extras: Items
    module: str
    function: str | None

    @property
    def place(self) -> str:
        """The path and the line, as compilers write it."""
        return f"{self.path}:{self.line}"

    @property
    def is_own(self) -> bool:
        """Whether a function of fslog's own logs it, whose message nobody rewords."""
        return bool(self.logger == own.LOGGER)


@dataclass(frozen=True)
class Comment:
    """A comment `# fslog: event="..."`; the event is None if the comment is malformed."""

    path: str
    line: int
    event: str | None
    text: str

    @property
    def place(self) -> str:
        """The path and the line, as compilers write it."""
        return f"{self.path}:{self.line}"


@dataclass
class Source:
    """What was found in some files.

    Args:
        files: how many there are.
        unparsed: those that Python cannot parse.
        bound: the names of properties that `fslog.context` binds.
        packages: the first parts of the modules' names.
    """

    files: int = 0
    calls: list[LogCall] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    unparsed: list[Unparsed] = field(default_factory=list)
    bound: set[str] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)


def read(paths: Sequence[str], here: str | None = None) -> Source:
    """Return the log calls in the Python files of some paths.

    Args:
        paths: files and directories.
        here: the current directory, which is on the module path.

    Raises:
        CommandError: a path is neither.
    """
    with garbage_kept():
        return _read(paths, _Program(Names(paths, here)))


def _read(paths: Sequence[str], program: _Program) -> Source:
    found = Source()
    names = program.names
    files = list(python_files(paths))
    for path in files:
        names.of(path)  # so that imports can be settled
        parsed = parse(path)
        if isinstance(parsed, Unparsed):
            found.unparsed.append(parsed)
        elif parsed is not None:
            program.add(path, parsed.tree)
            if b"fslog:" in parsed.text:
                found.comments += comments(path, parsed.text)
    modules = program.modules()
    names.settle((module.path, name) for module in modules for name in module.imports)
    for module in modules:
        module.names = names.of(module.path)
    _note_imported(modules, names)
    found.files = len(files)
    found.packages = {name.partition(".")[0] for path in files for name in names.of(path)}
    evaluator = Evaluator(program)
    for module in modules:
        found.calls += calls(module, evaluator)
        found.bound |= module.bound
    return found


def _note_imported(modules: list[ModuleScopes], names: Names) -> None:
    """Note which modules with code for a script are imported by others."""
    scripts = {names.real(one.path): one for one in modules if one.is_run}
    stems = {path.rpartition(os.sep)[2].removesuffix(".py") for path in scripts}
    for module in modules:
        for level, name in module.members:
            if name.rpartition(".")[2] in stems:
                path = (
                    names.relative(module.path, level, name)
                    if level
                    else names.path_of(name, module.path)
                )
                if path in scripts and path is not None and scripts[path] is not module:
                    scripts[path].is_run = False


class _Program:
    def __init__(self, names: Names) -> None:
        self.names = names
        self._read: dict[str, ModuleScopes] = {}
        self._by_path: dict[str, ModuleScopes | None] = {}

    def add(self, path: str, tree: ast.Module) -> ModuleScopes:
        module = scopes(path, tree)
        self._read[path] = module
        self._by_path[self.names.real(path)] = module
        return module

    def module(self, path: str) -> ModuleScopes | None:
        """Return a module that is imported; it may be outside of the paths."""
        if path not in self._by_path:
            self._by_path[path] = None  # if it imports itself
            parsed = parse(path, only_with_loggers=False)
            if parsed is not None and not isinstance(parsed, Unparsed):
                module = self._by_path[path] = scopes(path, parsed.tree)
                module.names = self.names.of(path)
        return self._by_path[path]

    def modules(self) -> list[ModuleScopes]:
        """Return the modules below the paths that may concern loggers."""
        return list(self._read.values())


def calls(module: ModuleScopes, evaluator: Evaluator) -> list[LogCall]:
    """Return the log calls of a module, in the order of their lines."""
    found = []
    for call, receiver, method in candidates(module):
        made = _log_call(call, receiver, method, evaluator)
        if made is not None:
            found.append(made)
    for call in module.own:
        logged = own.own_event(call, evaluator)
        if logged is not None:
            module.bound.update(logged.binds)
            found.append(_own_call(call, logged))
    return sorted(found, key=lambda one: one.line)


def _log_call(
    call: CallNode, receiver: ast.AST | None, method: str, evaluator: Evaluator
) -> LogCall | None:
    if receiver is None:
        bound = options(evaluator.of(call.node.func, call.scope))
        methods = [one for one in bound if isinstance(one, Method)]
        if not methods:
            return None
        value = either([one.logger for one in methods])
        called = {one.name for one in methods}
        method = called.pop() if len(called) == 1 else ""
        is_called_so = True
    else:
        value = evaluator.of(receiver, call.scope)
        is_called_so = is_log_name(receiver)
    if method and method not in METHODS:
        return None
    receivers = [one for one in options(value) if one is not None]
    loggers = [evaluator.logger(one) for one in receivers]
    found = [one for one in loggers if one is not None]
    others = [one for one in receivers if isinstance(one, Unknown) or _may_be_logger(one)]
    if not found and not (others and (method or is_called_so)):
        return None
    is_sure = len(found) == len(receivers) and all(one.is_sure for one in found)
    certainty = "logger" if is_sure else "likely"
    if not found and not is_called_so:
        certainty = "unlikely"
    parts = _Parts(call, evaluator, method)
    if parts.message is None or (certainty == "unlikely" and not _has_text(parts.message)):
        return None
    names = [one.name for one in found] + ([UNKNOWN] if len(found) < len(receivers) else [])
    return _made(call, certainty, found, either(names), parts)


def _may_be_logger(value: Value) -> bool:
    if not isinstance(value, External):
        return False
    module = value.name.partition(".")[0]
    return module == "builtins" or module not in sys.stdlib_module_names


def _has_text(value: Value) -> bool:
    return any(
        isinstance(one, str) or (isinstance(one, Unknown) and one.parts is not None)
        for one in options(value)
    )


class _Parts:
    """The message, the arguments, the level and the extras that a call gives."""

    def __init__(self, call: CallNode, evaluator: Evaluator, method: str) -> None:
        node, scope = call.node, call.scope

        def of(one: ast.AST) -> Value:
            return evaluator.of(one, scope)

        positional = list(node.args)
        named = {one.arg: one.value for one in node.keywords}
        self.level: int | None = METHODS.get(method)
        if method == "log":
            self.level = _level(of(positional.pop(0) if positional else named.get("level", node)))
        self.message: Value | None = None
        self.args: tuple[Value, ...] | Items | None = ()
        if positional:
            first, *rest = positional
            self.message = UNKNOWN if isinstance(first, ast.Starred) else of(first)
            is_open = any(isinstance(one, ast.Starred) for one in positional)
            self.args = None if is_open else _arguments([of(one) for one in rest])
        elif "msg" in named:
            self.message = of(named["msg"])
        elif None in named:  # **kwargs may have it
            self.message, self.args = UNKNOWN, None
        self.extras: Value = of(named["extra"]) if "extra" in named else None
        if None in named and self.extras is None:
            self.extras = UNKNOWN


def _level(value: Value) -> int | None:
    return value if isinstance(value, int) else None


def _arguments(values: list[Value]) -> tuple[Value, ...] | Items | None:
    """Return the arguments of a record: a single mapping that is not empty stands for itself."""
    if len(values) == 1 and isinstance(values[0], Items):
        if values[0] or values[0].is_open:
            return values[0] if values[0] else None
    return tuple(values)


def _made(
    call: CallNode, certainty: str, loggers: list[Logger], name: Value, parts: _Parts
) -> LogCall:
    message = parts.message
    if any(one.is_custom for one in loggers):
        message = UNKNOWN
    said = name, parts.level, message, parts.args, _extras(loggers, parts.extras)
    return _placed(call, certainty, *said)


def _own_call(call: CallNode, logged: own.OwnEvent) -> LogCall:
    certainty = "logger" if logged.is_sure else "likely"
    extras = Items({"event": logged.event})
    return _placed(call, certainty, own.LOGGER, own.LEVEL, logged.message, logged.args, extras)


def _placed(
    call: CallNode,
    certainty: str,
    logger: Value,
    level: int | None,
    message: Value,
    args: tuple[Value, ...] | Items | None,
    extras: Items,
) -> LogCall:
    path, node = call.scope.module.path, call.node
    return LogCall(
        path=path,
        line=node.lineno,
        end_line=node.end_lineno or node.lineno,
        certainty=certainty,
        logger=logger,
        level=level,
        message=message,
        args=args,
        extras=extras,
        module=path.replace("\\", "/").rpartition("/")[2].rpartition(".")[0],
        function=_function_name(call.scope),
    )


def _extras(loggers: list[Logger], given: Value) -> Items:
    own = Items({}) if given is None else given
    if not isinstance(own, Items):
        own = Items({}, is_open=True)
    adapted = [one for one in loggers if one.extra is not None or one.is_custom]
    if not adapted:
        return own
    extra = adapted[0].extra
    if len(loggers) == 1 and isinstance(extra, Items) and not adapted[0].is_custom:
        return extra
    return Items(own, is_open=True)


def _function_name(scope: Scope) -> str | None:
    if scope.kind == "comprehension":
        return None
    if scope.kind == "module":
        return "<module>"
    return getattr(scope.node, "name", "<lambda>")


def comments(path: str, text: bytes) -> list[Comment]:
    """Return the comments for fslog in a file."""
    found = []
    try:
        for token in tokenize.tokenize(io.BytesIO(text).readline):
            said = _COMMENT.match(token.string) if token.type == tokenize.COMMENT else None
            if said is not None:
                event = _EVENT.fullmatch(said["rest"])
                name = None if event is None else event[1] or event[2] or ""
                found.append(Comment(path, token.start[0], name, token.string))
    except (tokenize.TokenError, SyntaxError):  # the tokenizer of this Python is stricter
        pass
    return found
