"""Regressions in speed, as ratios within one run; and how the benchmark reports failures.

The bounds are generous: they detect a call that costs half as much again. A call is measured in the
CPU time of its own thread, in the fastest quarter of the loop, and the best of the interleaved
rounds is used, which depends least on other load of the machine. The cost of the other threads
is part of the burst. A run that fails is repeated twice at most.
"""

from __future__ import annotations

import http.client
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import fslog
from tests.benchmarks import contenders, measures, tables, workload
from tests.benchmarks.contenders import Contender
from tests.benchmarks.endpoint import Endpoint
from tests.benchmarks.rounds import Runner, Sample

Best = Callable[[Iterable[float]], float]
Ratio = Callable[[str, Best], float]

ROUNDS, ATTEMPTS = 5, 3
SIZES = measures.Sizes(calls=20_000, warm=5_000, events=40_000)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """Return one endpoint for all."""
    with Endpoint() as started:
        yield started


def attempts(endpoint: Endpoint, measure: str, name: str, to: str) -> Iterator[Ratio]:
    """Yield how the best values of two contenders compare, measured anew for each attempt."""
    runner = Runner(endpoint, sizes=SIZES, timeout=60)
    for _ in range(ATTEMPTS):
        results = tables.Results(list(runner.rounds(measure, [to, name], ROUNDS)))
        assert (results.error(measure, to), results.error(measure, name)) == ("", "")

        def ratio(key: str, best: Best, results: tables.Results = results) -> float:
            mine, others = (best(results.values(measure, who, key).values()) for who in (name, to))
            return mine / others

        yield ratio


@pytest.mark.timing
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "to", "most"),
    [
        pytest.param("fslog", "null", 2.3, id="an explicit event"),
        pytest.param("fslog-no-match", "null-plain", 1.6, id="no event"),
        pytest.param("fslog-spool", "null", 2.8, id="into a spool"),
    ],
)
def test_a_log_call_costs_little(name: str, to: str, most: float, endpoint: Endpoint) -> None:
    """It computes at most so many times what logging alone does."""
    found = []
    for ratio in attempts(endpoint, "tight", name, to):
        found.append(ratio("calm_us", min))
        if found[-1] <= most:
            return
    pytest.fail(f"{name} costs {found} times as much as {to}; expected {most} or less")


@pytest.mark.timing
@pytest.mark.timeout(600)
def test_a_burst_costs_and_lasts_about_as_much_as_a_minimal_senders(endpoint: Endpoint) -> None:
    """From the first call to the last 200, in all threads; the other sender has forty lines."""
    found, most, least = [], 1.2, 0.8
    for ratio in attempts(endpoint, "burst", "fslog", "minimal"):
        found.append((ratio("cpu_100k_s", min), ratio("per_s", max)))
        if found[-1][0] <= most and found[-1][1] >= least:
            return
    pytest.fail(f"costs and speeds are {found} times; expected {most} or less, {least} or more")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "to", "most"),
    [
        pytest.param("fslog", "null", 1.6, id="an explicit event"),
        pytest.param("fslog-spool", "null", 1.65, id="into a spool"),
        pytest.param("fslog-no-match", "null-plain", 1.28, id="no event"),
    ],
)
def test_what_is_off_adds_no_instruction(
    name: str, to: str, most: float, endpoint: Endpoint
) -> None:
    """A log call executes at most so many times the bytecode that logging alone does.

    Unlike a time, the number is the same in each run: the bounds are 2 or 3 % above the highest of
    all Pythons, so that each thing that is off by default has to stay off the way of the call.
    """
    runner = Runner(endpoint, timeout=60)
    samples = list(runner.rounds("instructions", [to, name], 1))
    ratio = tables.Results(samples).ratio("instructions", name, "instructions", to)
    assert ratio is not None, told(samples)
    assert 1.0 < ratio <= most


@pytest.mark.slow
def test_an_earlier_fslog_is_measured_in_the_same_rounds(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    """`--against` shows what has changed since, and takes turns in who is the first."""
    earlier = tmp_path / "earlier"
    shutil.copytree(Path(fslog.__file__).parent, earlier / "fslog")
    with (earlier / "fslog" / "handler.py").open("a", encoding="utf-8") as file:
        file.write(
            "\n\ndef _slower(self, record, before=FreshsuccessHandler.handle):"
            "\n    return [before(self, record) for _ in range(1)][0]"
            "\n\n\nFreshsuccessHandler.handle = _slower\n"
        )
    runner = Runner(endpoint, sizes=measures.Sizes(warm=500, traced=50), against=earlier)
    samples = list(runner.rounds("instructions", ["null", "fslog"], 2))
    assert [(one.contender, one.is_earlier) for one in samples] == [
        ("null", False),
        ("fslog", False),
        ("fslog", True),
        ("null", False),
        ("fslog", True),
        ("fslog", False),
    ]
    results = tables.Results([one for one in samples if not one.is_earlier])
    before = tables.Results([one for one in samples if one.is_earlier])
    (line,) = tables.changes(results, before)
    assert line["what"] == "instructions, fslog: instructions"
    assert 0.9 < line["ratio"] < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["extra", "properties", "bound", "window", "plain"])
def test_every_kind_of_item_stands_for_every_user(kind: str) -> None:
    """The same 10,000 users log in every form."""
    assert len(workload.items(kind)) == workload.USERS
    assert len(list(workload.stream(kind, workload.USERS + 1))) == workload.USERS + 1


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["deflate", "gzip", "identity"])
def test_the_endpoint_counts_events_and_bytes(encoding: str, endpoint: Endpoint) -> None:
    """The report has requests, bytes before unpacking, and events after unpacking."""
    body = b'{"product":"' + workload.MARK + b'"}\n'
    if encoding != "identity":
        packer = zlib.compressobj(6, zlib.DEFLATED, {"deflate": 15, "gzip": 31}[encoding])
        body = packer.compress(body * 3) + packer.flush()
    endpoint.reset()
    connection = http.client.HTTPConnection(urlsplit(endpoint.url).netloc)
    try:
        for _ in range(2):
            connection.request("POST", "/v1/a/b", body, {"Content-Encoding": encoding})
            assert connection.getresponse().read() != b""
    finally:
        connection.close()
    report = endpoint.report()
    assert (report["requests"], report["events"]) == (2, 2 if encoding == "identity" else 6)
    assert report["wire_bytes"] > 2 * len(body)
    endpoint.reset()
    assert endpoint.report()["requests"] == 0


def told(samples: list[Sample]) -> str:
    """Return the table of some samples as one text."""
    return "\n".join(tables.table(tables.Results(samples), samples[0].measure))


@pytest.mark.slow
def test_a_peer_that_is_not_installed_is_shown_with_the_reason(endpoint: Endpoint) -> None:
    """It is in the table, and is not tried again in the next round."""
    runner = Runner(endpoint, missing={"posthog": "no such release"})
    samples = list(runner.rounds("tight", ["posthog"], 3))
    assert len(samples) == 1
    assert "posthog: not installed: no such release" in told(samples)


@pytest.mark.slow
def test_a_contender_that_fails_is_shown_with_the_reason(endpoint: Endpoint) -> None:
    """The reason is the last line that its process wrote."""
    sizes = measures.Sizes(calls=0, warm=0)
    sample = Runner(endpoint, sizes=sizes).run("tight", contenders.ALL["null"])
    assert "ZeroDivisionError" in told([sample])


@pytest.mark.slow
def test_a_contender_that_loses_events_is_shown_as_such(endpoint: Endpoint) -> None:
    """A number is valid only if every event arrived."""
    silent = Contender("null", contenders.null, sends=True)  # claims that it sends, and does not
    sample = Runner(endpoint, sizes=SIZES).run("tight", silent)
    assert "0 of 25,000 events arrived" in told([sample])


def test_ratios_are_those_within_a_round() -> None:
    """A machine that is twice as slow in one round changes no ratio."""
    samples = [
        Sample("tight", name, number, {"call_us": cost * (1 + number % 2)})
        for number in range(3)
        for name, cost in (("null", 5.0), ("fslog", 8.0))
    ]
    assert tables.Results(samples).ratio("tight", "fslog", "call_us", "null") == 1.6
    met = {line["what"]: line["met"] for line in tables.targets(tables.Results(samples))}
    assert met == {"call, explicit event, x NullHandler": True}
