"""Measure fslog and its peers: `python -m tests.benchmarks`, from the root of a checkout."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import contenders, environments, measures, tables
from tests.benchmarks.endpoint import ROOT, Endpoint
from tests.benchmarks.measures import Sizes
from tests.benchmarks.rounds import Runner, Sample

QUICK = Sizes(
    calls=10_000,
    warm=5_000,
    seconds=1.0,
    events=20_000,
    slow_events=10_000,
    scale=(1_000, 10_000, 100_000),
    outage=100_000,
)
GROUPS = ("floor", "stdlib", "fslog", "peer")


def _takes(measure: str, name: str) -> bool:
    contender = contenders.ALL[name]
    if name == "fslog-large":
        return measure in ("burst", "slow")
    if measure in ("tight", "instructions"):
        return True
    if name == "fslog-plan":
        return False
    if measure == "scale":
        return name in ("null", "fslog", "fslog-spool")
    if measure == "outage":
        return name in ("fslog", "fslog-spool")
    if contender.kind not in ("extra", "properties"):
        return False
    if measure in ("slow", "threads"):
        return contender.sends or (measure == "threads" and name == "null")
    return measure != "burst" or name != "null"


def _chosen(text: str, known: Sequence[str], groups: Sequence[str] = ()) -> list[str]:
    words = text.split(",")
    unknown = set(words) - {*known, *groups, "all"}
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    if "all" in words:
        return list(known)
    return [name for name in known if name in words or _group(name) in words]


def _group(name: str) -> str:
    return contenders.ALL[name].group if name in contenders.ALL else ""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    names, kinds = list(contenders.ALL), list(measures.ALL)
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add = parser.add_argument
    add(
        "--contenders",
        type=lambda text: _chosen(text, names, GROUPS),
        default=names,
        help=f"names or groups, separated by commas: all, {', '.join((*GROUPS, *names))}",
    )
    add(
        "--measures",
        type=lambda text: _chosen(text, kinds),
        default=kinds,
        help=f"separated by commas: {', '.join(kinds)}",
    )
    add("--rounds", type=int, help="how often each contender is measured (5; with --quick 2)")
    add("--quick", action="store_true", help="smaller numbers: a few minutes instead of an hour")
    for name in ("calls", "warm", "rate", "events", "slow-events", "outage", "traced"):
        add(f"--{name}", type=int, help="see Sizes in measures.py")
    add("--seconds", type=float, help="duration of a paced run")
    add("--scale", type=lambda text: tuple(map(int, text.split(","))), help="numbers of events")
    add("--timeout", type=float, default=180.0, help="time limit of one process in seconds")
    add("--python", default=sys.executable, help="the interpreter that runs the contenders")
    add("--cache", type=Path, help="directory of the peers' environment (default: temporary)")
    add("--here", action="store_true", help="install nothing: use the packages of the interpreter")
    add("--fslog", type=Path, default=ROOT, help="the checkout of the fslog to measure")
    add("--against", type=Path, help="a checkout of an earlier fslog, to show what changed since")
    add("--json", type=Path, help="file for the results (default: in the temporary directory)")
    return parser.parse_args(words)


def sizes(chosen: argparse.Namespace) -> Sizes:
    """Return the sizes that the command line selects."""
    base = QUICK if chosen.quick else Sizes()
    given = {field.name: getattr(chosen, field.name) for field in dataclasses.fields(Sizes)}
    return dataclasses.replace(base, **{k: v for k, v in given.items() if v is not None})


@contextlib.contextmanager
def _environment(chosen: argparse.Namespace) -> Iterator[environments.Environment]:
    taking_part = [contenders.ALL[name] for name in chosen.contenders]
    packages = list(dict.fromkeys(p for one in taking_part for p in one.packages))
    if chosen.here:
        yield environments.as_it_is(chosen.python, packages)
    else:
        with contextlib.ExitStack() as stack:
            where = chosen.cache or stack.enter_context(tempfile.TemporaryDirectory())
            print(f"installing {len(packages)} packages", flush=True)
            yield environments.made(Path(where).resolve(), chosen.python, packages)


def _show_capacity(endpoint: Endpoint) -> list[dict[str, Any]]:
    shown = []
    for events in (10, 500, 5_000):
        found = endpoint.capacity(events)
        shown.append({"events": events, **found})
        print(
            f"the endpoint accepts {found['bodies_per_s']:,.0f} bodies/s of {events:,} events "
            f"({found['body_bytes']:,} bytes): {found['events_per_s']:,.0f} events/s"
        )
    return shown


def _show(results: tables.Results, names: Sequence[str]) -> None:
    for measure in names:
        if results.names(measure):
            print("", *tables.table(results, measure), sep="\n")
    lines = list(tables.targets(results))
    if lines:
        print("\ntargets (medians of the ratios within each round)")
    for line in lines:
        verdict = "met" if line["met"] else "MISSED"
        print(
            f"  {line['what']:44} {line['value']:8.2f} {line['sign']} {line['bound']:<5g} {verdict}"
        )


def _show_changes(results: tables.Results, earlier: tables.Results) -> None:
    print("\nthe earlier fslog, and this one relative to it (medians)")
    for line in tables.changes(results, earlier):
        print(f"  {line['what']:44} {line['earlier']:10,.2f} {line['ratio']:6.3f}")


def _measured(chosen: argparse.Namespace, runner: Runner, rounds: int) -> Iterator[Sample]:
    terminal = sys.stderr if sys.stderr.isatty() else None
    for measure in chosen.measures:
        names = [name for name in chosen.contenders if _takes(measure, name)]
        for sample in runner.rounds(measure, names, rounds):
            if terminal:
                line = f"{measure} {sample.round + 1}/{rounds} {sample.contender}"
                print(f"\r{line:60}\r", end="", file=terminal, flush=True)
            yield sample


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the tables and write the results, even those of an interrupted run."""
    chosen = arguments(words)
    rounds = chosen.rounds or (2 if chosen.quick else 5)
    fslog, path = chosen.fslog.resolve(), chosen.json or _default_path()
    written: dict[str, Any] = {"began_at": time.time(), "platform": platform.platform()}
    samples: list[Sample] = []
    with _environment(chosen) as here, Endpoint() as endpoint:
        runner = Runner(
            endpoint,
            here.python,
            fslog,
            sizes(chosen),
            chosen.timeout,
            here.failures,
            against=chosen.against and chosen.against.resolve(),
        )
        print(f"Python {here.versions['python']}, {os.cpu_count()} CPUs, {rounds} rounds, {fslog}")
        print(*(f"{k} {v or 'missing'}" for k, v in here.versions.items()), sep=", ")
        notes = {name: contenders.ALL[name].note for name in chosen.contenders}
        print(*(f"{name}: {note}" for name, note in notes.items() if note), sep="; ")
        written |= {"cpus": os.cpu_count(), "notes": notes, "capacity": _show_capacity(endpoint)}
        written |= {"versions": here.versions, "not_installed": here.failures}
        with contextlib.suppress(KeyboardInterrupt):
            for sample in _measured(chosen, runner, rounds):
                samples.append(sample)  # noqa: PERF402 - an interrupt keeps earlier samples
    results = tables.Results([sample for sample in samples if not sample.is_earlier])
    _show(results, chosen.measures)
    if chosen.against:
        _show_changes(results, tables.Results([one for one in samples if one.is_earlier]))
    written |= {
        "took_s": time.time() - written["began_at"],
        "sizes": dataclasses.asdict(runner.sizes),
        "targets": list(tables.targets(results)),
        "samples": [dataclasses.asdict(sample) for sample in samples],
    }
    path.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    print(f"\n{path}")
    return 0


def _default_path() -> Path:
    return Path(tempfile.gettempdir()) / "fslog-benchmarks.json"


if __name__ == "__main__":
    sys.exit(main())
