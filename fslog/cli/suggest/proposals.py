"""What is proposed: rules, each with the kinds of records that it is for."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from fslog.cli.suggest.reading import Kind


@dataclass
class Proposal:
    """One rule.

    Args:
        rule: as in a configuration.
        kinds: the records that it is for.
        comments: what the rule does not say itself.
        fits: how many of all records it fits, as far as the samples show.
    """

    rule: dict[str, Any]
    kinds: list[Kind]
    comments: list[str] = field(default_factory=list)
    fits: int = 0

    @property
    def event(self) -> dict[str, Any]:
        """Return the rule's event, with what a preset has without one."""
        made: dict[str, Any] = self.rule.setdefault(
            "event", {"action": "feature", "module": "{module}", "feature": "{feature}"}
        )
        return made


def expression(pattern: str) -> str:
    """Return a regular expression as a rule's value."""
    return f"/{pattern}/"


def literal(text: str) -> str:
    """Return a rule's value that equals a text, which may look like a regular expression.

    >>> literal("/reports/"), literal("exported")
    ('/^/reports/$/', 'exported')
    """
    is_expression = len(text) > 1 and text[0] == text[-1] == "/"
    return expression(f"^{re.escape(text)}$") if is_expression else text


def counted(kinds: list[Kind]) -> int:
    """Return how often records of some kinds were logged."""
    return sum(kind.count for kind in kinds)


def merged(proposals: list[Proposal]) -> list[Proposal]:
    """Return proposals without those that another one's conditions make needless."""
    found: dict[str, Proposal] = {}
    for one in proposals:
        conditions = {name: value for name, value in one.rule.items() if name != "event"}
        first = found.setdefault(json.dumps(conditions), one)
        if first is not one:
            first.kinds += one.kinds
            first.comments += one.comments
    return list(found.values())
