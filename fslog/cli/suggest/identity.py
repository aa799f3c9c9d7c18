"""Where records say who acts: the paths that become `fields`."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fslog.cli.suggest.proposals import Proposal
from fslog.cli.suggest.reading import Kind
from fslog.cli.suggest.requests import is_access
from fslog.mapping.paths import MISSING, RECORD_ATTRIBUTES
from fslog.mapping.presets import read_access
from fslog.mapping.schema import IDS

_NAMES = {
    "userId": {
        "user_id": 10,
        "userid": 10,
        "user_pk": 10,
        "user_uuid": 10,
        "current_user_id": 10,
        "username": 7,
        "user_name": 7,
        "forwarded_user": 7,
        "auth_request_user": 7,
        "user": 6,
        "remote_user": 6,
        "current_user": 6,
        "actor_id": 6,
        "member_id": 5,
        "uid": 5,
        "user_email": 4,
        "login": 4,
        "email": 3,
    },
    "accountId": {
        "account_id": 10,
        "accountid": 10,
        "tenant_id": 10,
        "organization_id": 9,
        "org_id": 9,
        "organisation_id": 9,
        "company_id": 9,
        "workspace_id": 8,
        "customer_id": 7,
        "account": 7,
        "tenant": 7,
        "organization": 6,
        "organisation": 6,
        "org": 6,
        "company": 5,
        "workspace": 5,
        "account_name": 4,
        "tenant_name": 4,
        "team_id": 3,
    },
    "sessionId": {"session_id": 10, "sessionid": 10, "sid": 5},
}
_OWNERS = {
    "userId": frozenset({"user", "current_user", "member", "actor", "person"}),
    "accountId": frozenset(
        {"account", "tenant", "organization", "organisation", "org", "company", "workspace"}
    ),
    "sessionId": frozenset({"session"}),
}
_PARTS = {"id": 9, "pk": 9, "uuid": 8, "username": 7, "slug": 7, "login": 5, "email": 4, "name": 3}
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ATOM = re.compile(r"\{(.+)\}[ie]")
_ABSENT = (None, "", "-", "None")
_MASKED = "***"


def candidates(kind: Kind) -> dict[str, dict[str, int]]:
    """Return, by property, the paths at which each sample of a kind may have it, with scores.

    Some samples may have no value there: nobody was logged in.
    """
    samples = [dict(_values(sample)) for sample in kind.samples]
    # A request may have a header that another one has not.
    combined = set.union if is_access(kind) else set.intersection
    common = combined(*map(set, samples))
    found: dict[str, dict[str, int]] = {name: {} for name in _NAMES}
    for parts in sorted(common):
        values = [sample.get(parts) for sample in samples]
        for name in _NAMES:
            score = _score(name, parts)
            is_secret = name == "sessionId" and _MASKED in values
            if score and not is_secret and not all(one in _ABSENT for one in values):
                found[name][".".join(parts)] = score
    if is_access(kind) and all("access.user" in _read(record) for record in kind.records()):
        found["userId"]["access.user"] = 5
    return found


def _read(record: Any) -> Mapping[str, Any]:
    values = read_access(record)
    return {} if values is MISSING else values


def guard(proposals: Sequence[Proposal], fields: Mapping[str, str]) -> None:
    """Limit rules to records that have the ids, if some of their samples have none."""
    for one in proposals:
        for name in IDS:
            path = fields.get(name, "")
            values = [
                dict(_values(sample)).get(tuple(path.split(".")))
                for kind in one.kinds
                for sample in kind.samples
            ]
            is_for_all = name in one.rule.get("event", {}) or all(one in _ABSENT for one in values)
            if not is_for_all and any(one in _ABSENT for one in values):
                one.rule.setdefault("when", {})[path] = "/[^-]/"


def _values(sample: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the paths of a sample's values that can be ids, with the values, None for none."""
    roots: dict[str, Any] = {
        name: value for name, value in sample.items() if name not in RECORD_ATTRIBUTES
    }
    args = sample.get("args")
    if isinstance(args, list):  # an argument itself has no name
        args = {str(number): one for number, one in enumerate(args) if isinstance(one, dict)}
    roots["args"] = args
    message = sample.get("msg")
    roots["message"] = message
    if isinstance(message, str) and message.startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):
            roots["formatted_message"] = json.loads(message)
    for name, value in roots.items():
        is_object = name not in ("args", "message", "formatted_message")
        if not name.startswith("_") and (is_object or isinstance(value, dict)):
            yield from _walk((name,), value)


def _walk(parts: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if "." in parts[-1] or not parts[-1] or parts[-1].startswith("_"):
        return
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _walk((*parts, key), one)
    elif (
        value is None
        or type(value) is int
        or (isinstance(value, str) and not value.startswith("<"))
    ):
        yield parts, value


def _score(name: str, parts: Sequence[str]) -> int:
    """Return how probable it is that a path is a property, 0 for not at all.

    >>> _score("userId", ["request", "user", "id"]), _score("userId", ["args", "{x-user}i"])
    (9, 6)
    >>> _score("accountId", ["tenantId"]), _score("userId", ["job", "id"])
    (10, 0)
    """
    last = _plain(parts[-1])
    if len(parts) > 1 and _plain(parts[-2]) in _OWNERS[name]:
        return _PARTS.get(last, 0)
    return _NAMES[name].get(last, 0)


def _plain(part: str) -> str:
    found = _ATOM.fullmatch(part)
    text = _CAMEL.sub("_", found[1] if found else part).replace("-", "_").lower()
    return text.removeprefix("http_").removeprefix("x_")


def choose(proposals: Sequence[Proposal]) -> dict[str, str]:
    """Return `fields`: by property, the path that most records have.

    A rule whose records have the property elsewhere gets it in its event.
    """
    fields: dict[str, str] = {}
    known = {id(kind): candidates(kind) for one in proposals for kind in one.kinds}
    for name in _NAMES:
        weights: dict[str, int] = {}
        for kind in (kind for one in proposals for kind in one.kinds):
            for path, score in known[id(kind)][name].items():
                if path not in (name, "access.user"):
                    weights[path] = weights.get(path, 0) + score * kind.count
        only = [path for path in weights if "{" in path]
        if any(_has_only(one, only, known, name) for one in proposals):
            weights = {path: weights[path] for path in only}
        best = max(weights, key=lambda path: (weights[path], -len(path), path), default=None)
        if best is not None:
            fields[name] = best
        for one in proposals:
            if name not in one.rule.get("event", {}):
                _complete(one, name, best, [known[id(kind)][name] for kind in one.kinds])
    return fields


def _has_only(one: Proposal, braced: Sequence[str], known: Mapping[int, Any], name: str) -> bool:
    """Return whether the records of a rule have a property at such paths alone.

    A path with a brace can stand in `fields`, and not in a placeholder.
    """
    paths = [set(known[id(kind)][name]) for kind in one.kinds]
    common = set.intersection(*paths)
    return bool(common) and common.issubset(braced)


def _complete(
    one: Proposal, name: str, field: str | None, paths: Sequence[Mapping[str, int]]
) -> None:
    common = set(paths[0]).intersection(*paths[1:])
    if name in common or field in common or not common:
        return
    best = max(common, key=lambda path: (paths[0][path], -len(path), path))
    if "{" not in best:
        one.event[name] = f"{{{best}}}"


def missing(proposals: Sequence[Proposal], fields: Mapping[str, str]) -> dict[str, list[int]]:
    """Return, by property, the numbers of the rules whose records do not say it."""
    found: dict[str, list[int]] = {}
    for number, one in enumerate(proposals):
        known = [candidates(kind) for kind in one.kinds]
        for name in IDS:
            paths = {fields.get(name), name}
            is_known = all(paths.intersection(of[name]) for of in known)
            if not (is_known or name in one.rule.get("event", {})):
                found.setdefault(name, []).append(number)
    return found
