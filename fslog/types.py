"""Types for annotations: what arguments allow, rules, and the events of known actions.

A type checker then finds a misspelt property, a missing one, and a value of the wrong type:

>>> from fslog.types import FeatureEvent
>>> event: FeatureEvent = {"action": "feature", "module": "reports", "feature": "export"}

The event is passed as `extra={"event": event}`. Properties that fields, context or defaults provide
may be absent. An event with further properties has a type of its own:

>>> class ExportEvent(FeatureEvent):
...     rows: int
"""

# Annotations are evaluated: as strings, they would be compiled at every import.

from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from typing import Any, Literal, TypedDict
from uuid import UUID

__all__ = [
    "Compression",
    "Datacenter",
    "ExcludedIds",
    "Extras",
    "FeatureEvent",
    "IdentifyAccountEvent",
    "IdentifyUserEvent",
    "ModuleEndEvent",
    "Names",
    "Overflow",
    "PresetRule",
    "Redact",
    "Rule",
    "Session",
    "SessionSyncEvent",
    "SpoolFsync",
]

Compression = Literal["deflate", "gzip"]
"""The only values of Content-Encoding that the endpoint supports; it loses a body with another."""

Datacenter = Literal["us", "eu"]
"""Where the service runs."""

Extras = Literal["all", "declared"]
"""Which properties are sent: all that a log call gives, or those that the configuration names."""

Overflow = Literal["refuse", "block"]
"""What happens if there is no room: the newest event is refused, or the log call waits."""

Redact = Literal["drop", "hash", "keep"]
"""What becomes of a property."""

Session = Literal["window", "idle", "none"]
"""How a missing `sessionId` is derived."""

SpoolFsync = Literal["never", "segment", "line"]
"""What the spool flushes to the disk itself: nothing, each sealed segment, or each line."""

Names = list[str] | tuple[str, ...] | Set[str]
"""Names or globs of extras. Not any iterable: a single string is one, and is not allowed."""


class ExcludedIds(TypedDict, total=False):
    """The ids of those for whom there is no event, or globs of them."""

    accounts: Sequence[str | int | UUID]
    users: Sequence[str | int | UUID]


class Rule(TypedDict):
    """A rule: conditions by key, and the properties of the event that it makes."""

    when: Mapping[str, str | float]
    event: Mapping[str, Any]


class _Preset(TypedDict):
    preset: Literal["access", "celery"]


class PresetRule(_Preset, total=False):
    """A rule with a preset: its conditions, and those of any rule; an event unless it is made.

    `path`, `methods` and `status` belong to `access`, `task` and `state` to `celery`.
    """

    path: str
    methods: str | list[str] | tuple[str, ...]
    status: int | Sequence[str | int]
    task: str
    state: str | list[str] | tuple[str, ...]
    when: Mapping[str, str | float]
    event: Mapping[str, Any]


class _Optional(TypedDict, total=False):
    """Properties that every event has in the end, and that a log call need not give."""

    accountId: str | int | UUID
    userId: str | int | UUID
    createdAt: float | datetime
    sessionId: str


class _OptionalProduct(_Optional, total=False):
    product: str


class _OptionalTotal(_OptionalProduct, total=False):
    total: float


class FeatureEvent(_OptionalTotal):
    """A feature was used, `total` times (1 if absent)."""

    action: Literal["feature"]
    feature: str
    module: str


class ModuleEndEvent(_OptionalProduct):
    """A user left a module, after `timeSpent` milliseconds."""

    action: Literal["moduleEnd"]
    module: str
    timeSpent: float


class SessionSyncEvent(_Optional):
    """A user was active in the session for `activeDuration` milliseconds."""

    action: Literal["sessionSync"]
    activeDuration: float


class IdentifyUserEvent(_Optional):
    """What is known of a user: name, email, joinDate, title, role..."""

    action: Literal["identifyUser"]
    details: Mapping[str, Any]


class IdentifyAccountEvent(_Optional):
    """What is known of an account: name, joinDate, renewalDate, tier..."""

    action: Literal["identifyAccount"]
    details: Mapping[str, Any]
