"""Rules for log calls of the application whose messages say that a user did something."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fslog.cli.suggest.proposals import Proposal, expression, literal
from fslog.cli.suggest.reading import Kind

_VERBS = """
accepted:accept activated:activate added:add answered:answer applied:apply approved:approve
archived:archive assigned:assign attached:attach blocked:block booked:book bought:buy
canceled:cancel cancelled:cancel changed:change clicked:click closed:close commented:comment
completed:complete configured:configure confirmed:confirm converted:convert copied:copy
created:create customized:customize deactivated:deactivate declined:decline deleted:delete
disabled:disable disconnected:disconnect downloaded:download duplicated:duplicate edited:edit
enabled:enable exported:export favorited:favorite filtered:filter finished:finish followed:follow
generated:generate imported:import installed:install invited:invite invoiced:invoice joined:join
left:leave liked:like linked:link marked:mark merged:merge modified:modify moved:move
opened:open ordered:order paid:pay pinned:pin placed:place played:play posted:post printed:print
published:publish purchased:purchase rated:rate read:read received:receive refunded:refund
registered:register rejected:reject removed:remove renamed:rename renewed:renew replied:reply
reported:report requested:request reserved:reserve restored:restore reviewed:review saved:save
scheduled:schedule searched:search selected:select sent:send shared:share shipped:ship
signed:sign sorted:sort starred:star submitted:submit subscribed:subscribe tagged:tag
transferred:transfer unfollowed:unfollow unsubscribed:unsubscribe updated:update upgraded:upgrade
uploaded:upload used:use verified:verify viewed:view visited:visit voted:vote
"""
_FEATURES = dict(word.split(":") for word in _VERBS.split())
_PHRASES = {
    "logged in": "log in",
    "logged out": "log out",
    "signed in": "sign in",
    "signed out": "sign out",
    "signed up": "sign up",
}
_MACHINE_WORDS = """
application app blueprint booting broker cache cached certificate cleanup config configuration
connection connections consumer cron daemon database db debugger deadlock dependency driver
endpoint engine error exception failed failure garbage handler handlers health heartbeat index
initialized lock logger logging metrics middleware migration migrations module modules plugin
plugins pool process queue retry retrying route routes schema scheduler server service session
settings shutdown socket startup table thread timeout unable url worker workers cannot not
"""
_MACHINES = frozenset(_MACHINE_WORDS.split())
_STOP_WORDS = """
a an and as at by for from has have he in into it its new of on one she that the their they to
user users was were with is been account customer
"""
_STOPWORDS = frozenset(_STOP_WORDS.split())
_GENERIC_NAMES = """
api app application audit core events handlers main __main__ models root routers routes services
signals tasks utils views web log logger logs usage
"""
_GENERIC = frozenset(_GENERIC_NAMES.split())
_WORD = re.compile(r"%(?:\(\w+\))?[-#0 +]*[\d.]*[a-z]|\{[^}]*\}|[A-Za-z][A-Za-z_-]*|\d+")
_MOST_MESSAGES = 4
"""More messages of one log call than this are probably one with values in it."""

_DIGITS = re.compile(r"\\?\d+")


class _Said(NamedTuple):
    """What a log call says, and where a rule finds it.

    Args:
        key: the key of `when`.
        wanted: its value.
        text: the message.
    """

    key: str
    wanted: str
    text: str


def propose(kinds: Sequence[Kind]) -> tuple[list[Proposal], list[str]]:
    """Return rules for log calls of the application, and what could not be decided."""
    made: list[Proposal] = []
    notes: list[str] = []
    by_place: dict[tuple[str, str], list[Kind]] = {}
    for kind in kinds:
        by_place.setdefault((kind.logger, kind.place), []).append(kind)
    for found in by_place.values():
        for said, group in _said(found):
            proposal, note = _proposal(said, group)
            made += [proposal] if proposal is not None else []
            notes += [note] if note else []
    # A logger's rule fits the records of its children, too.
    return sorted(made, key=lambda one: -len(one.kinds[0].logger)), notes


def _said(kinds: list[Kind]) -> list[tuple[_Said | None, list[Kind]]]:
    """Return what one log call says: more than one thing, if a function logs for others."""
    formatted = [kind for kind in kinds if kind.text is None or _is_formatted(kind)]
    plain = [kind for kind in kinds if kind not in formatted and _is_plain(kind)]
    general = None
    if len(plain) > _MOST_MESSAGES:  # of a function that logs for others, or with values in them
        general = _generalized([*formatted, *plain])
        formatted, plain = ([*formatted, *plain], []) if general else (formatted, plain)
    elif formatted and len(formatted) == len(kinds):
        general = _generalized(formatted)
    found: list[tuple[_Said | None, list[Kind]]] = []
    events: dict[tuple[str, str], list[Kind]] = {}
    for kind in (one for one in kinds if one not in formatted):
        events.setdefault(_text_of(kind), []).append(kind)
    for (key, text), group in events.items():
        found.append((_Said(key, literal(text), text), group))
    return [*found, (general, formatted)] if formatted else found


def _text_of(kind: Kind) -> tuple[str, str]:
    message = kind.samples[0].get("msg")
    if isinstance(message, dict):
        return "message.event", kind.text or ""
    if isinstance(message, str) and message.startswith("{"):
        try:
            event = json.loads(message)["event"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return "message", kind.text or ""
        if isinstance(event, str):
            return "formatted_message.event", event
    return "message", kind.text or ""


def _is_plain(kind: Kind) -> bool:
    """Return whether a message is a text without arguments."""
    message = kind.samples[0].get("msg")
    is_text = isinstance(message, str) and not message.startswith("{")
    return is_text and not kind.samples[0].get("args")


def _is_formatted(kind: Kind) -> bool:
    """Return whether the application has filled values into a message, as f-strings do."""
    return _is_plain(kind) and any(one.isdigit() for one in kind.samples[0]["msg"])


def _generalized(kinds: list[Kind]) -> _Said | None:
    """Return the common form of messages; None if there is none."""
    messages = [
        str(sample["msg"])
        for kind in kinds
        for sample in kind.samples
        if isinstance(sample.get("msg"), str)
    ]
    split = [message.split(" ") for message in messages]
    if not split or any(len(words) != len(split[0]) for words in split):
        return None
    pattern: list[str] = []
    text: list[str] = []
    for words in zip(*split, strict=True):
        # A name stands there, although only one was seen.
        is_name = bool(text) and text[-1].lower() in ("user", "by")
        is_same = len(set(words)) == 1 and not is_name
        pattern.append(_DIGITS.sub(r"\\d+", re.escape(words[0])) if is_same else r"\S+")
        text.append(words[0] if is_same and not words[0].isdigit() else "%s")
    if not any(re.search("[A-Za-z]{3}", word) for word in text):
        return None
    return _Said("message", expression(f"^{' '.join(pattern)}$"), " ".join(text))


def _proposal(said: _Said | None, kinds: list[Kind]) -> tuple[Proposal | None, str]:
    first = kinds[0]
    times = sum(kind.count for kind in kinds)
    where = f"{first.logger}, {first.place}, {times} times"
    if said is None:
        return None, f"{where}: the messages differ too much to find a rule for them"
    if "*" * 3 in said.text or not said.text.strip():
        return None, f"{where}: the message is not in the file, or empty"
    words = [word.lower() for word in _WORD.findall(said.text)]
    feature = _feature(words)
    shown = _quoted(said.text)
    if feature is None:
        return None, ""
    if any(word in _MACHINES for word in words):
        return None, f"{where}: {shown} may be about the application itself"
    event = {"action": "feature", "module": _module(first), "feature": feature}
    rule = {"when": {"logger": first.logger, said.key: said.wanted}, "event": event}
    proposal = Proposal(rule, kinds, [f"{first.place}: {shown}"])
    if said.key == "message" and _is_formatted(first):
        proposal.comments.append("the application formats this message: see what else would fit")
    user = _user_argument(said.text, first.samples[0])
    if user is not None:
        event["userId"] = user
    return proposal, ""


def _feature(words: list[str]) -> str | None:
    """Return the feature that a message names; None if it names none.

    >>> _feature(["exported", "%s", "rows"]), _feature(["invoice", "%s", "created"])
    ('export', 'create invoice')
    >>> _feature(["user", "%s", "logged", "in"]), _feature(["created", "new", "project"])
    ('log in', 'create project')
    """
    for at, word in enumerate(words):
        phrase = _PHRASES.get(" ".join(words[at : at + 2]))
        if phrase is not None:
            return phrase
        if word in _FEATURES:
            noun = _noun(words[at + 1 :], is_next=True) or _noun(words[:at][::-1], is_next=False)
            return f"{_FEATURES[word]} {noun}" if noun else _FEATURES[word]
    return None


def _noun(words: list[str], *, is_next: bool) -> str:
    for word in words:
        if word[:1] in "%{" or word.isdigit():
            if is_next:
                return ""
        elif word not in _STOPWORDS and word not in _FEATURES:
            return word
    return ""


def _module(kind: Kind) -> str:
    names = [name for name in kind.logger.split(".") if name.lower() not in _GENERIC]
    return names[-1] if names else "app"


_USER_BEFORE = re.compile(r"\b(?:user|user[_ ]?id|by(?: user)?)\b[\s:='\"]*$", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"%(?P<key>\(\w+\))?[-#0 +]*[\d.]*[sdir]")


def _user_argument(text: str, sample: Mapping[str, Any]) -> str | None:
    """Return the placeholder of the argument that a message calls a user, if it is an id."""
    args = sample.get("args")
    if not isinstance(args, list):
        return None
    for number, found in enumerate(_PLACEHOLDER.finditer(text)):
        is_id = number < len(args) and type(args[number]) in (str, int)
        if is_id and not found["key"] and _USER_BEFORE.search(text[: found.start()]):
            return f"{{args.{number}}}"
    return None


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= 60 else f"{text[:60]}...", ensure_ascii=False)


def is_candidate(kind: Kind) -> bool:
    """Return whether the application itself logs records as information."""
    is_information = logging.INFO <= kind.level < logging.WARNING
    return is_information and not kind.is_library and kind.logger.partition(".")[0] != "fslog"
