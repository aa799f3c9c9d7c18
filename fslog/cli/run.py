"""`fslog run`: start a command with handlers beside whatever it does to logging."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import fslog
from fslog.cli.options import CommandError, CommandParser, require_posix
from fslog.config import enabled_state, environment
from fslog.config.files import mapping_in
from fslog.integrations.configured import DEFAULT, Configured, class_of

STARTUP = Path(fslog.__file__).resolve().parent / "auto" / "startup"
"""The directory of the `sitecustomize` that each Python process of the command imports."""

_DESCRIPTION = """\
Run COMMAND with fslog's handlers beside whatever it does to logging: no
configuration that it loads can detach them. The same holds for each Python
process that it starts.

FILE is a logging configuration (JSON, YAML or TOML), of which the handlers of
class fslog.FreshsuccessHandler and the loggers' levels count. A logger to which
it gives a level makes events from that level on, whatever level the application
gives it. Without FILE and FSLOG_CONFIG, there is one handler with its defaults
on the root logger, whose level is INFO."""

_EPILOG = """\
examples:
  fslog run -- python manage.py runserver
  fslog run --config usage.yaml -- uvicorn app:app
  FSLOG_CONFIG=usage.yaml fslog run -- celery --app shop worker

`python -I` and `python -E` ignore the environment, and so fslog: import
fslog.auto in such an application.

The process becomes the command: signals and the exit code are its own. The exit
code is 2 if the configuration is invalid, 126 if the command cannot be started,
127 if it is not found."""


def run(arguments: Sequence[str]) -> int:
    """Check the configuration, and become the command."""
    given, command = split(arguments)
    options = _parser().parse_args(given)
    if not command:
        raise CommandError("expected a command: fslog run -- COMMAND ...")
    require_posix("fslog run", "import fslog.auto in the application instead")
    path = options.config or environment("FSLOG_CONFIG")
    _check(path)
    return become(command, environment_of(path))


def environment_of(config: str | None) -> dict[str, str]:
    """Return the environment of a command that imports `fslog.auto`, with a configuration."""
    environ = {**os.environ, "_FSLOG_RUN": str(os.getpid())}
    if config is not None:
        environ["FSLOG_CONFIG"] = os.path.abspath(config)
    paths = [str(STARTUP), os.environ.get("PYTHONPATH")]
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environ


def split(
    arguments: Sequence[str], options: Collection[str] = ("--config",)
) -> tuple[list[str], list[str]]:
    """Return the arguments before a command, and the command with its own.

    Args:
        arguments: those of `fslog run` or `fslog record`.
        options: those that have a value.

    >>> split(["--config", "usage.json", "--", "python", "app.py", "--", "x"])
    (['--config', 'usage.json'], ['python', 'app.py', '--', 'x'])
    """
    at = 0
    while at < len(arguments) and arguments[at].startswith("-") and arguments[at] != "--":
        at += 2 if arguments[at] in options else 1
    rest = list(arguments[at:])
    return list(arguments[:at]), rest[1:] if rest[:1] == ["--"] else rest


def _check(path: str | None) -> None:
    """Create the handlers of a configuration, disabled and without the application's modules.

    Raises:
        CommandError: it is invalid.
    """
    from fslog.cli.check.dry_run import dry_run

    where = path or "fslog"
    try:
        given = DEFAULT if path is None else mapping_in(path)
        configured = Configured(_without_imports(given), where)
        with dry_run() as arguments_of:
            created = configured.create()
        for name, handler in created.items():
            _check_keys(given["handlers"][name], arguments_of(handler))
    except (TypeError, ValueError) as error:
        text = str(error)
        raise CommandError(text if text.startswith(where) else f"{where}: {text}") from None


def _check_keys(section: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Raise what an enabled handler raises if a key is missing."""
    from fslog.net.destination import destination

    keys = ("auth_key", "api_key", "auth_key_file", "api_key_file")
    if all((name in section) == (name in arguments) for name in keys):
        destination(
            **{name: arguments.get(name) for name in (*keys, "datacenter", "endpoint", "proxy")},
            needs_keys=enabled_state(arguments.get("enabled")),
            environ=os.environ,
            log=lambda level, text: None,  # the command's own handlers say it
        )


def _without_imports(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without what its own process imports: it may have to prepare that."""
    checked: dict[str, Any] = _kept(given)
    for kind, stand_in in (("filters", {}), ("formatters", {"()": "fslog.EventFormatter"})):
        if isinstance(checked.get(kind), Mapping):
            checked[kind] = {
                name: stand_in if _is_foreign(class_of(section)) else section
                for name, section in checked[kind].items()
            }
    return checked


def _kept(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _kept(one) for key, one in value.items() if not _is_import(one)}
    if isinstance(value, list):
        return [_kept(one) for one in value if not _is_import(one)]
    return value


def _is_import(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("ext://") and _is_foreign(value[6:])


def _is_foreign(name: Any) -> bool:
    package = str(name or "logging").partition(".")[0]
    return package != "fslog" and package not in sys.stdlib_module_names


def become(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Replace this process by a command.

    Raises:
        CommandError: it cannot be started.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and so would the command
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvpe(command[0], list(command), dict(environ))
    except FileNotFoundError:
        if os.path.exists(command[0]):
            raise CommandError(f"{command[0]}: its interpreter does not exist", code=126) from None
        raise CommandError(f"no such command: {command[0]}", code=127) from None
    except OSError as error:
        raise CommandError(f"{command[0]}: {error.strerror}", code=126) from None


def _parser() -> CommandParser:
    usage = "fslog run [-h] [--config FILE] -- COMMAND ..."
    parser = CommandParser("fslog run", _DESCRIPTION, _EPILOG, usage=usage)
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command, with arguments"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="the logging configuration (default: FSLOG_CONFIG)"
    )
    return parser
