"""Rules for access lines: what users changed, by the methods and paths of their requests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from fslog.cli.output import count
from fslog.cli.suggest.proposals import Proposal, counted, expression
from fslog.cli.suggest.reading import Kind
from fslog.integrations.recording import shape
from fslog.mapping.paths import MISSING
from fslog.mapping.presets import LOGGERS, read_access

_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_PREFIXES = re.compile(r"api|rest|v\d{1,2}", re.IGNORECASE)
_MACHINE_WORDS = """
health healthz healthcheck livez readyz ping status metrics webhook webhooks callback rpc graphql
batch heartbeat telemetry beacon collect logs events socket.io sockjs
"""
_MACHINES = frozenset(_MACHINE_WORDS.split())
_MOST = 40
"""More alternatives than this make no readable rule."""


class _Request(NamedTuple):
    """Requests of one method, path and class of status; ids in the path are `*`."""

    method: str
    parts: tuple[str, ...]
    status: int
    kind: Kind


class _Form(NamedTuple):
    """What requests have in common that one rule can fit.

    Args:
        parts: of the path: `M` and `F` for module and feature, `*` for an id, or a text.
        method: the only one; empty for any.
        feature: the feature, if it is not in the path.
    """

    parts: tuple[str, ...]
    method: str = ""
    feature: str = ""


def is_access(kind: Kind) -> bool:
    """Return whether a server's access log has made records."""
    return any(f"{kind.logger}.".startswith(f"{known}.") for known in LOGGERS)


def propose(kinds: Sequence[Kind]) -> tuple[list[Proposal], list[str]]:
    """Return rules for access lines, and what could not be decided."""
    requests = list(_requests(kinds))
    if not requests:
        return [], []
    logger, notes = _logger(requests)
    forms: dict[_Form, list[_Request]] = {}
    left: dict[str, list[_Request]] = {}
    for request in (one for one in requests if one.kind.logger == logger or logger is None):
        reason = _reason_against(request)
        if reason:
            left.setdefault(reason, []).append(request)
        else:
            forms.setdefault(_form(request), []).append(request)
    for reason, found in left.items():
        shown = _shown(found)
        notes.append(f"{count(counted([one.kind for one in found]), 'request')}: {reason}: {shown}")
    made = [_proposal(form, found, logger) for form, found in forms.items()]
    # A rule whose path has ids in more places may fit the requests of another one, too.
    return sorted(
        made, key=lambda one: (one.rule["path"].count("[^/]+"), -counted(one.kinds))
    ), notes


def _requests(kinds: Sequence[Kind]) -> Iterator[_Request]:
    for kind in kinds:
        values: Any = read_access(kind.records()[0]) if is_access(kind) else MISSING
        if kind.text is not None and values is not MISSING:
            parts = tuple(shape(values["access.path"]).strip("/").split("/"))
            yield _Request(values["access.method"], parts, values["access.status"] // 100, kind)


def _logger(requests: list[_Request]) -> tuple[str | None, list[str]]:
    """Return the logger to which rules are limited, if several log the same requests."""
    by_logger: dict[str, list[Kind]] = {}
    for one in requests:
        by_logger.setdefault(one.kind.logger, []).append(one.kind)
    if len(by_logger) == 1:
        return None, []
    most = max(by_logger, key=lambda name: counted(by_logger[name]))
    others = ", ".join(name for name in by_logger if name != most)
    return most, [
        f"access lines of {others}: the rules are for {most} alone, since two servers may log the "
        "same request"
    ]


def _reason_against(one: _Request) -> str:
    """Return why requests make no rule; empty if they do."""
    if one.status not in (2, 3):
        return "failed"
    if one.method not in _WRITES:
        return "pages and data that were read; a rule with methods: [GET] would count them"
    static = [part for part in _own(one) if part not in ("*", "")]
    if not static:
        return "the path has nothing but ids"
    if any(part.lower() in _MACHINES for part in static):
        return "programs call such paths, or all operations have the same"
    return ""


def _own(one: _Request) -> tuple[str, ...]:
    """Return the parts of a path after those that every path of an API has."""
    at = 0
    while at < len(one.parts) - 1 and _PREFIXES.fullmatch(one.parts[at]):
        at += 1
    return one.parts[at:]


def _form(one: _Request) -> _Form:
    own = _own(one)
    prefix = one.parts[: len(one.parts) - len(own)]
    at = [number for number, part in enumerate(own) if part != "*"]
    parts = list(own)
    if len(at) == 1 and len(own) == 1 and not own[0].endswith("s"):
        parts[at[0]] = "F"
        return _Form((*prefix, *parts), one.method)
    parts[at[0]] = "M"
    if len(at) > 1:
        parts[at[-1]] = "F"
        return _Form((*prefix, *parts))
    has_id = own[-1] == "*"
    words = {"POST": "update" if has_id else "create", "DELETE": "delete"}
    return _Form((*prefix, *parts), one.method, words.get(one.method, "update"))


def _proposal(form: _Form, requests: list[_Request], logger: str | None) -> Proposal:
    alternatives: dict[str, dict[str, None]] = {"M": {}, "F": {}}
    for one in requests:
        for mark, part in zip(form.parts, one.parts, strict=True):
            if mark in alternatives:
                alternatives[mark][part] = None
    pattern = "".join(f"/{_pattern(mark, alternatives)}" for mark in form.parts)
    rule: dict[str, Any] = {
        "preset": "access",
        "methods": [method for method in _WRITES if any(one.method == method for one in requests)],
        "path": expression(f"^{pattern}/?$"),
    }
    comments = [_shown(requests)]
    if any(one.status == 3 for one in requests):
        rule["status"] = "2xx,3xx"
        comments.append("a form redirects after it was stored, and one to a login page does, too")
    if logger is not None:
        rule["when"] = {"logger": logger}
    proposal = Proposal(rule, [one.kind for one in requests], comments)
    if form.feature:
        proposal.event["feature"] = form.feature
    elif not alternatives["M"]:
        proposal.event["module"] = "web"
    return proposal


def _pattern(mark: str, alternatives: dict[str, dict[str, None]]) -> str:
    if mark == "*":
        return "[^/]+"
    if mark not in alternatives:
        return re.escape(mark)
    words = sorted(alternatives[mark])
    name = "module" if mark == "M" else "feature"
    inner = "|".join(map(re.escape, words)) if len(words) <= _MOST else r"[^\d/][^/]*"
    return f"(?P<{name}>{inner})"


def _shown(requests: list[_Request], most: int = 4) -> str:
    shown = [
        f"{one.method} /{'/'.join(one.parts)} {one.kind.count}"
        for one in sorted(requests, key=lambda one: -one.kind.count)
    ]
    more = [f"{len(shown) - most} more"] if len(shown) > most else []
    return ", ".join(shown[:most] + more)
