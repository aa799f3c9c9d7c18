"""The command `fslog suggest`: a configuration for the records of an application."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fslog import EventFormatter
from fslog.cli.check.frameworks import PRESETS
from fslog.cli.options import CommandParser
from fslog.cli.output import count
from fslog.cli.suggest import calls, identity, requests
from fslog.cli.suggest.proposals import Proposal, counted, merged
from fslog.cli.suggest.reading import Kind, read
from fslog.mapping.paths import Unreadable
from fslog.plan import yaml

_DESCRIPTION = """\
Propose rules and fields for the records that `fslog record` has kept in FILE,
as a logging configuration with comments (YAML): rules for the access lines of a
server, from the methods and paths of requests that changed something; rules for
the application's own log calls whose messages say that a user did something;
fields, from values whose names look like those of users, accounts and sessions.

Each rule says which records it would fit, and how often they were logged. At
the end stands what records do not show, and what only you can decide."""

_EPILOG = """\
examples:
  fslog record -- gunicorn app:app
  fslog suggest records.ndjson > usage.yaml
  fslog check usage.yaml --log records.ndjson
  fslog run --config usage.yaml -- gunicorn app:app

The names of modules and features are a proposal: choose them with those who
read the reports, since they are hard to change later. The exit code is 0 if a
rule is proposed, 1 if none is, 2 if FILE is not a recording."""

_MOST_NOTES = 40


class Suggestion:
    """What is proposed for some kinds of records, and what could not be decided."""

    def __init__(self, kinds: Sequence[Kind], is_full: bool) -> None:
        self.kinds = kinds
        explicit = [kind for kind in kinds if is_explicit(kind)]
        others = [kind for kind in kinds if not is_explicit(kind)]
        self.undecided: list[str]
        of_requests, self.undecided = requests.propose(others)
        own = [kind for kind in others if calls.is_candidate(kind) and not is_of_server(kind)]
        of_calls, notes = calls.propose(own)
        self.undecided += notes
        proposals = merged([*of_requests, *of_calls])
        self.fields: dict[str, str] = identity.choose(proposals)
        identity.guard(proposals, self.fields)
        self.proposals: list[Proposal] = self._fitting(proposals)
        self._note_missing()
        self._note_rest(explicit, own, is_full)

    @property
    def configuration(self) -> dict[str, Any]:
        """The configuration, as for `dictConfig`."""
        handler: dict[str, Any] = {"class": "fslog.FreshsuccessHandler"}
        handler["rules"] = [one.rule for one in self.proposals]
        if self.fields:
            handler["fields"] = self.fields
        made: dict[str, Any] = {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"usage": handler},
        }
        if self._servers():
            made["loggers"] = {name: {"propagate": True} for name in self._servers()}
        made["root"] = {"handlers": ["usage"], "level": "INFO"}
        return made

    def _servers(self) -> list[str]:
        """Return the loggers that do not propagate unless a configuration says so."""
        used = {kind.logger for one in self.proposals for kind in one.kinds}
        return sorted(name for name in used if name in PRESETS and not PRESETS[name].propagates)

    def _fitting(self, proposals: list[Proposal]) -> list[Proposal]:
        """Return the rules that fit their own records, with how many they fit."""
        kept = [one for one in proposals if self._fits(one, one.kinds)]
        for one in proposals:
            if one not in kept:
                where = f"{one.kinds[0].logger}, {one.kinds[0].place}"
                self.undecided.append(f"{where}: no rule could be made that fits what is kept")
        for one in kept:
            one.fits = sum(kind.count for kind in self.kinds if self._fits(one, [kind]))
        return kept

    def _fits(self, one: Proposal, kinds: Sequence[Kind]) -> bool:
        try:
            (rule,) = EventFormatter(rules=[one.rule], fields=self.fields).rules  # type: ignore
            return any(
                all(condition.match(condition.read(record)) is not None for condition in rule.when)
                for kind in kinds
                for record in kind.records()
            )
        except (TypeError, ValueError, Unreadable):
            return False

    def _note_missing(self) -> None:
        for name, numbers in identity.missing(self.proposals, self.fields).items():
            rules = "any rule" if len(numbers) == len(self.proposals) else _rules(numbers)
            self.undecided.append(
                f"{name}: the records of {rules} do not say it; bind it for each request or task "
                "with fslog.integrations or fslog.context (fslog help context), else these events "
                "are invalid"
            )

    def _note_rest(self, explicit: list[Kind], own: list[Kind], is_full: bool) -> None:
        used = {id(kind) for one in self.proposals for kind in one.kinds}
        if {"preset" in one.rule for one in self.proposals} == {True, False}:
            self.undecided.append(
                "rules on requests and rules on log calls may count the same use twice: keep one"
            )
        if explicit:
            text = f"{count(counted(explicit), 'record')} are events already, by their action"
            self.undecided.append(text)
        tasks = [k for k in self.kinds if k.logger == "celery.app.trace" and k.text is not None]
        if tasks:
            names = ", ".join(f"{kind.text} {kind.count}" for kind in tasks[:4])
            self.undecided.append(
                f"Celery's tasks ({names}): a rule with preset: celery makes events of those that "
                "a user has asked for (fslog help rules)"
            )
        noted = "\n".join(self.undecided)
        rest = [k for k in own if id(k) not in used and f"{k.logger}, {k.place}" not in noted]
        for kind in rest:
            if any(identity.candidates(kind)[name] for name in ("userId", "accountId")):
                text = f"{kind.logger}, {kind.place}, {kind.count} times: {json.dumps(kind.text)}"
                self.undecided.append(f"{text} has an id, but no word for what a user did")
        if is_full:
            self.undecided.append("the recording was full: later records are missing")
        del self.undecided[_MOST_NOTES:]


def is_explicit(kind: Kind) -> bool:
    """Return whether the log calls themselves name an action."""
    sample = kind.samples[0]
    event = sample.get("event")
    return "action" in sample or (isinstance(event, dict) and "action" in event)


def is_of_server(kind: Kind) -> bool:
    """Return whether a server or Celery writes records for which there are presets."""
    return requests.is_access(kind) or f"{kind.logger}.".startswith("celery.")


def _rules(numbers: Sequence[int]) -> str:
    return ", ".join(f"rules[{number}]" for number in numbers)


def run(arguments: Sequence[str]) -> int:
    """Run `fslog suggest` with its arguments and return the exit code."""
    options = _parser().parse_args(arguments)
    kinds, is_full = read(options.file)
    made = Suggestion(kinds, is_full)
    if options.json:
        print(json.dumps(_values(made), indent=2))
    else:
        for line in _lines(options.file, made):
            print(line)
    sys.stdout.flush()
    return 0 if made.proposals else 1


def _values(made: Suggestion) -> Mapping[str, Any]:
    return {
        "configuration": made.configuration,
        "rules": [
            {
                "rule": one.rule,
                "fits": one.fits,
                "comments": one.comments,
                "calls": [
                    {
                        "logger": kind.logger,
                        "place": kind.place,
                        "kind": kind.text,
                        "count": kind.count,
                    }
                    for kind in one.kinds
                ],
            }
            for one in made.proposals
        ],
        "undecided": made.undecided,
    }


def _lines(path: str, made: Suggestion) -> Iterator[str]:
    total = f"{count(counted(list(made.kinds)), 'record')} of {count(len(made.kinds), 'kind')}"
    yield from yaml.comment(f"Proposed by fslog suggest for {total} in {path}.")
    if made.proposals:
        yield from yaml.comment("Read every rule: is it usage, and are these its names?")
        yield from _configuration(made)
    else:
        yield from yaml.comment("No rule is proposed.")
    if made.undecided:
        yield ""
        yield "# Not decided:"
        yield from yaml.items(made.undecided)


def _configuration(made: Suggestion) -> Iterator[str]:
    given = made.configuration
    yield f"version: {given['version']}"
    yield "disable_existing_loggers: false"
    yield "handlers:"
    yield "  usage:"
    yield f"    class: {given['handlers']['usage']['class']}"
    yield "    rules:"
    for number, one in enumerate(made.proposals):
        kinds = one.kinds[0].logger
        yield from yaml.comment(f"rules[{number}], {kinds}, {one.fits} times", 6)
        for text in one.comments:
            yield from yaml.comment(f"  {text}", 6)
        yield from yaml.block(one.rule, 6)
    if made.fields:
        yield "    fields:"
        yield from yaml.comment(
            "Is this who acts, not whom it is about? Are these the CRM's ids?", 6
        )
        for name, field in made.fields.items():
            fits = counted(
                [
                    kind
                    for one in made.proposals
                    for kind in one.kinds
                    if field in identity.candidates(kind)[name]
                ]
            )
            of = counted([kind for one in made.proposals for kind in one.kinds])
            yield from yaml.comment(f"{fits} of {count(of, 'record')} have it", 6)
            yield f"      {name}: {yaml.scalar(field)}"
    if "loggers" in given:
        yield "loggers:"
        for name, section in given["loggers"].items():
            yield f"  {name}: {yaml.flow(section)}"
    yield f"root: {yaml.flow(given['root'])}"


def _parser() -> CommandParser:
    parser = CommandParser("fslog suggest", _DESCRIPTION, _EPILOG)
    parser.add_argument("file", metavar="FILE", help="what fslog record has written")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    return parser
