"""Run contenders interleaved, each in its own process, and collect their results."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks import contenders
from tests.benchmarks.contenders import Contender
from tests.benchmarks.endpoint import ROOT, Endpoint, environment
from tests.benchmarks.measures import Sizes

ANSWERS: dict[str, dict[str, Any]] = {"slow": {"delay": 0.2}, "outage": {"status": 503}}
"""The endpoint's settings for measures in which it does not answer 200 at once."""


@dataclass(frozen=True)
class Sample:
    """The result of one contender in one round.

    Args:
        values: the numbers from the contender and from the endpoint.
        error: the reason for missing or invalid numbers, empty if they are valid.
        is_earlier: whether the earlier fslog was measured (`Runner.against`).
    """

    measure: str
    contender: str
    round: int
    values: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    is_earlier: bool = False


@dataclass
class Runner:
    """Run one contender at a time.

    Args:
        endpoint: the endpoint for all contenders.
        python: the interpreter that has their packages.
        fslog: the checkout of the fslog to measure, None for the interpreter's installed one.
        sizes: the sizes of the measures.
        timeout: the time limit of one process in seconds.
        missing: by package, the reason that it is not installed.
        against: the checkout of an earlier fslog, which is measured in the same rounds.
    """

    endpoint: Endpoint
    python: str = sys.executable
    fslog: Path | None = None
    sizes: Sizes = field(default_factory=Sizes)
    timeout: float = 180.0
    missing: dict[str, str] = field(default_factory=dict)
    against: Path | None = None

    def rounds(self, measure: str, names: Sequence[str], count: int) -> Iterator[Sample]:
        """Yield one sample of each contender per round, and one of each with the earlier fslog.

        A contender that fails is not run in later rounds.
        """
        failed: set[tuple[str, bool]] = set()
        for number in range(count):
            for name, is_earlier in self._turns(names, number):
                if (name, is_earlier) not in failed:
                    contender = contenders.ALL[name]
                    sample = self.run(measure, contender, number, is_earlier=is_earlier)
                    if sample.error:
                        failed.add((name, is_earlier))
                    yield sample

    def _turns(self, names: Sequence[str], number: int) -> Iterator[tuple[str, bool]]:
        for name in names:
            if self.against is None or contenders.ALL[name].group != "fslog":
                yield name, False
            else:  # who is the first may find another machine than the second
                first = number % 2 == 1
                yield name, first
                yield name, not first

    def run(
        self, measure: str, contender: Contender, number: int = 0, *, is_earlier: bool = False
    ) -> Sample:
        """Run one contender once."""
        for package in contender.packages:
            if reason := self.missing.get(package):
                return Sample(measure, contender.name, number, error=f"not installed: {reason}")
        self.endpoint.reset(**ANSWERS.get(measure, {}))
        fslog = self.against if is_earlier else self.fslog
        values, error = self._child(measure, contender, fslog)
        if not error:
            values, error = self._joined(contender, values)
        return Sample(measure, contender.name, number, values, error, is_earlier)

    def _child(
        self, measure: str, contender: Contender, fslog: Path | None
    ) -> tuple[dict[str, Any], str]:
        spec = {
            "measure": measure,
            "contender": contender.name,
            "url": self.endpoint.url,
            "sizes": dataclasses.asdict(self.sizes),
        }
        command = [self.python, "-m", "tests.benchmarks.child", json.dumps(spec)]
        paths = [path for path in (fslog, ROOT) if path is not None]
        # The directory receives files and spools. It also keeps ROOT, the usual directory, from
        # being first on the import path, where it would hide the fslog to measure.
        with tempfile.TemporaryDirectory(prefix="fslog-benchmark-") as where:
            try:
                done = subprocess.run(
                    command,
                    cwd=where,
                    env=environment(*paths),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=self.timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return {}, f"did not finish within {self.timeout:g} s"
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"exited with {done.returncode}"]
            return {}, said[-1][:200]
        return json.loads(done.stdout.splitlines()[-1]), ""

    def _joined(self, contender: Contender, values: dict[str, Any]) -> tuple[dict[str, Any], str]:
        report = self.endpoint.report() if contender.sends else None
        if report is not None:
            expected, came = values["events"], report["events"]
            if expected != came:
                return values, f"{came:,} of {expected:,} events arrived"
            values["idle"] = report["idle"]
            if expected:
                values["wire_bytes"] = report["wire_bytes"] / expected
                values["events_per_request"] = expected / report["requests"]
        if "began_at" in values:
            last = values["ended_at"] if report is None else report["last_at"]
            values["per_s"] = values["events"] / (last - values["began_at"])
        return values, ""
