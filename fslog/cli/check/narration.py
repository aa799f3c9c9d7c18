"""What `fslog check` finds, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator

from fslog.cli.check import reports
from fslog.cli.check.configurations import Configuration, Finding
from fslog.cli.check.explanations import Explanation, shown
from fslog.cli.check.tally import Tally
from fslog.cli.check.targets import Target
from fslog.cli.output import Part, Printer, count
from fslog.mapping.schema import WARNINGS

_LABEL = 12
_MOST_NAMES = 8
_MOST_REASONS = 5
_WIDEST = 40

_VERDICTS = {
    "event": ("event", "green"),
    "warning": ("event, with a warning", "yellow"),
    "invalid": ("invalid: it is not sent", "red"),
    "skipped": ("no event", "dim"),
    "stopped": ("does not come here", "yellow"),
    "unreadable": ("no record", "yellow"),
}
_COUNTED = {
    "event": ("event", "events"),
    "warning": ("event with a warning", "events with a warning"),
    "invalid": ("is invalid, and not sent", "are invalid, and not sent"),
    "skipped": ("is no event", "are no events"),
    "stopped": ("does not come here", "do not come here"),
    "unreadable": ("line that is no record", "lines that are no records"),
}


class Narration:
    """Write to a person.

    Args:
        paper: where to.
        details: how many records are explained in full.
    """

    def __init__(self, paper: Printer, details: int) -> None:
        self._paper = paper
        self._left = details
        self._held_back = 0

    def configuration(self, label: str, made: Configuration, found: list[Target]) -> None:
        """Write what there is to know without any record."""
        self._paper.line((label, "bold"))
        for target in found:
            self._paper.line()
            for row in _target_rows(made, target):
                self._paper.line(*row)
        self._findings([one for one in made.findings if one.is_wrong], "wrong", "red")
        self._findings([one for one in made.findings if not one.is_wrong], "doubtful", "yellow")
        self._paper.line()
        if any(one.is_wrong for one in made.findings):
            self._paper.line(("this will not work", "red"))
        else:
            self._paper.line(("this is right", "green"))

    def _findings(self, findings: list[Finding], kind: str, style: str) -> None:
        if findings:
            self._paper.line()
        for one in findings:
            self._paper.line(
                (f"{kind:{_LABEL}}", style), (f"{one.where}: ", "bold"), (one.message, "")
            )

    def no_target(self) -> None:
        """Write that records cannot be explained."""
        self._paper.line(("no handler can be made, so that no record can be explained", "red"))

    def record(self, one: Explanation) -> None:
        """Write one explanation, if not enough were written already."""
        if self._left <= 0:
            self._held_back += 1
            return
        self._left -= 1
        self._paper.line()
        for row in _explanation_rows(one):
            self._paper.line(*row)

    def summary(self, tally: Tally, target: Target) -> None:
        """Write the numbers, where there are more than a reader would count."""
        if tally.lines == 1:
            return
        self._paper.line()
        if not tally.lines:
            self._paper.line((count(0, "record"), "bold"))
            return
        if self._held_back:
            text = f"{count(self._held_back, 'more record')} not shown; see --details and --only"
            self._paper.line((text, "dim"))
            self._paper.line()
        for row in _summary_rows(tally):
            self._paper.line(*row)

    def end(self) -> None:
        """Write nothing more."""


def _row(label: str, text: str, style: str = "") -> tuple[Part, ...]:
    return ((f"  {label:{_LABEL - 2}}", "dim"), (text, style))


def _target_rows(made: Configuration, target: Target) -> Iterator[tuple[Part, ...]]:
    what = reports.factory_name(target.part.factory)
    yield (("handler ", "dim"), (target.name, "bold"), (f"  {what}", ""))
    if target.posts:
        yield from _posting_rows(target)
    else:
        yield _row("writes", "events as lines; something else has to ship them")
    if target.formatter is not None:
        yield _row("events", _mapping(target))
    if target.part.filters:
        yield _row("filters", ", ".join(reports.filter_names(target)))
    for logger in reports.logger_values(target):
        yield _row("from", f"{_logger(logger['logger'])}, {logger['level']} and above")
    for name, why in reports.kept_apart(made, target)[:_MOST_NAMES]:
        yield _row("not from", f"{name}: {why}")


def _posting_rows(target: Target) -> Iterator[tuple[Part, ...]]:
    values = reports.posting_values(target)
    if not values["enabled"]:
        yield _row("disabled", "it takes nothing here (enabled, or FSLOG_ENABLED)", "yellow")
    if values["endpoint"]:
        via = f" by the proxy {values['proxy']}" if values["proxy"] else ""
        yield _row("posts to", f"{values['endpoint']}{via}")
    for name, origin in values["keys"].items():
        where = "in the configuration" if origin == "configuration" else f"in {origin}"
        yield _row(name, where if origin else "missing", "" if origin else "yellow")
    if values["spool"]:
        yield _row("spool", f"{values['spool']['path']}, {values['spool']['state']}")


def _mapping(target: Target) -> str:
    rules = len(list(target.formatter.rules)) if target.formatter is not None else 0
    texts = [f"by log calls and {count(rules, 'rule')}"]
    for name in ("fields", "defaults", "include"):
        given = target.mapping.get(name)
        if given:
            texts.append(f"{name} {', '.join(map(str, given))}")
    return "; ".join(texts)


def _logger(name: str) -> str:
    return "the root logger" if name == "root" else name


def _explanation_rows(one: Explanation) -> Iterator[tuple[Part, ...]]:
    where = "record" if one.number is None else f"line {one.number}"
    if one.record is None:
        yield ((f"{where}  ", "dim"), (f"{_VERDICTS[one.outcome][0]}: {one.why}", "yellow"))
        return
    record = one.record
    level = record.levelname if record.levelno else "no level"
    yield (
        (f"{where}  ", "dim"),
        (str(record.name), "bold"),
        (f" {level}  {shown(record.msg, 120)}", ""),
        (f" {shown(record.args)}" if record.args else "", "dim"),
    )
    yield _verdict(one)
    yield from _property_rows(one)
    for problem in one.problems:
        style = "yellow" if problem.code in WARNINGS else "red"
        yield ((f"    {problem.message}", style),)
    for text in one.left_out:
        yield ((f"    left out: {text}", "yellow"),)
    yield from _miss_rows(one)
    for text in one.notes:
        yield ((f"    {text}", "dim"),)


def _property_rows(one: Explanation) -> Iterator[tuple[Part, ...]]:
    values = {name: shown(value) for name, value in (one.event or {}).items()}
    width = max(map(len, values), default=0)
    value_width = min(max(map(len, values.values()), default=0), _WIDEST)
    for name, value in values.items():
        source = one.sources.get(name, "")
        yield (
            (f"    {name:{width}}  ", "cyan"),
            (f"{value:{value_width}}  " if source else value, ""),
            (source, "dim"),
        )


def _verdict(one: Explanation) -> tuple[Part, ...]:
    words, style = _VERDICTS[one.outcome]
    by = "" if one.rule is None else f", by rules[{one.rule}]"
    if one.is_explicit and one.event is not None:
        by = ", said by the log call itself"
    if one.outcome == "stopped":
        what = "invalid" if any(p.code not in WARNINGS for p in one.problems) else "an event"
        would = f" (it would be {what}{by})" if one.event is not None else ""
        return ((f"  {words}: ", style), (f"{one.why}{would}", ""))
    return ((f"  {words}", style), (by, ""))


def _miss_rows(one: Explanation) -> Iterator[tuple[Part, ...]]:
    if one.outcome == "skipped" and not one.misses:
        yield (("    it has no action, and there are no rules", "dim"),)
    for miss in one.misses:
        held = f"{miss.held} of {miss.conditions} conditions hold"
        yield (
            (f"    rules[{miss.rule}]  ", "dim"),
            (miss.sentence(), ""),
            (f"  ({held})" if miss.held else "", "dim"),
        )


def _summary_rows(tally: Tally) -> Iterator[tuple[Part, ...]]:
    yield ((count(tally.lines, "record"), "bold"),)
    for outcome, words in _COUNTED.items():
        number = tally.outcomes[outcome]
        if number:
            yield ((f"{number:9,}  ", ""), (words[number != 1], _VERDICTS[outcome][1]))
            yield from _detail_rows(tally, outcome)
    if tally.rules or tally.explicit:
        yield (("by", "bold"),)
    if tally.explicit:
        yield ((f"{tally.explicit:9,}  the log call itself", ""),)
    for index in range(tally.rules):
        fits = tally.fits[index]
        if fits:
            yield ((f"{fits:9,}  rules[{index}]", ""),)
        else:
            yield ((f"    never  rules[{index}]", "yellow"), (_never(tally, index), ""))


def _detail_rows(tally: Tally, outcome: str) -> Iterator[tuple[Part, ...]]:
    if outcome == "skipped":
        named = [f"{name} {number:,}" for name, number in tally.skipped.most_common(_MOST_NAMES)]
        yield ((f"{'':13}of {', '.join(named)}", "dim"),)
    if outcome == "stopped":
        for why, number in tally.stops.most_common(_MOST_REASONS):
            yield ((f"{number:15,}  {why}", "dim"),)
        if tally.stopped_events:
            would = count(
                tally.stopped_events, "of them would be an event", "of them would be events"
            )
            yield ((f"{'':12}{would}", "yellow"),)
    if outcome in ("warning", "invalid"):
        for (code, _, message), number in tally.problems.most_common():
            if (code in WARNINGS) == (outcome == "warning"):
                yield ((f"{number:15,}  {message}", "dim"),)


def _never(tally: Tally, index: int) -> str:
    nearest = tally.nearest.get(index)
    if nearest is None:
        return ": an earlier one fitted whenever it was looked at" if tally.fits else ""
    return f": nearest was a record whose {nearest.sentence()}"
