"""A property of the vocabulary with too many values is reported once, by the listener alone."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from fslog import FreshsuccessHandler
from fslog.collector import Collector
from fslog.delivery.names import MOST, PROPERTIES, Names
from fslog.mapping.encoding import encode
from memory import Memory
from spools import processes
from waiting import eventually


def lines(*values: Any, name: str = "feature") -> list[bytes]:
    """Return the lines of events with these values of a property."""
    return [encode({"action": "feature", name: value}) for value in values]


class Reports:
    """Names with a small limit, and what they reported."""

    def __init__(self, most: int = 3) -> None:
        self.said: list[tuple[str, str, str]] = []
        self.names = Names(lambda *words: self.said.append(words), most)


def test_the_limit_is_500() -> None:
    """500 values are few enough, one more is not."""
    reports = Reports(MOST)
    for number in range(500):
        reports.names.sample(lines(f"feature {number}"))
    assert reports.said == []
    reports.names.sample(lines("feature 500"))
    assert [name for name, *_ in reports.said] == ["feature"]


@pytest.mark.parametrize("name", PROPERTIES)
def test_each_property_is_reported_once(name: str) -> None:
    """It has two values that resemble each other; the other properties are still watched."""
    reports = Reports()
    first = lines("export_2026_03_01", "save", "export_2026_03_02", name=name)
    reports.names.sample(first)
    assert reports.said == []
    reports.names.sample(lines("x", "y", "z", name=name))
    assert reports.said == [(name, "export_2026_03_01", "export_2026_03_02")]
    reports.names.sample(lines(*map(str, range(9)), name=name))
    assert len(reports.said) == 1
    other = next(one for one in PROPERTIES if one != name)
    reports.names.sample([encode({other: str(number)}) for number in range(9)])
    assert [said[0] for said in reports.said] == [name, other]


def test_values_that_repeat_are_few() -> None:
    """It is distinct values that count, not events."""
    reports = Reports()
    for _ in range(100):
        reports.names.sample(lines("a", "b", "c"))
    assert reports.said == []


def test_only_texts_of_the_event_itself_count() -> None:
    """Other properties, nested ones, values of other types and lines that are not JSON do not."""
    reports = Reports()
    for number in range(20):
        reports.names.sample(
            [
                *lines(number, [number], {"feature": str(number)}, None),
                encode({"details": {"feature": str(number), "module": str(number)}}),
                *lines(f"user {number}", name="userId"),
                b'["feature"]\n',
                b"not JSON \xff\n",
                b'{"feature":%s}\n' % (b"[" * 100_000),
            ]
        )
    assert reports.said == []


def test_of_a_large_batch_a_hundred_lines_are_parsed() -> None:
    """They are spread over the whole batch; of a small one all are."""
    kept = Reports(most=1_000)
    kept.names.sample(lines(*(f"f{number:04d}" for number in range(5_000))))
    found = sorted(kept.names._values["feature"])
    assert (len(found), found[0], found[-1]) == (100, "f0000", "f4950")
    kept.names.sample(lines(*"abc"))
    assert len(kept.names._values["feature"]) == 103


def test_the_memory_is_bounded() -> None:
    """No more values than the limit are held, a part of each, and none after the report."""
    reports = Reports(most=3)
    reports.names.sample(lines(*("x" * 10_000 + str(number) for number in range(50))))
    assert reports.said == []
    assert {len(one) for one in reports.names._values["feature"]} == {100}
    reports.names.sample(lines(*map(str, range(50))))
    assert "feature" not in reports.names._values


@pytest.fixture
def said() -> Any:
    """Yield the texts on the logger `fslog`."""
    logger, memory = logging.getLogger("fslog"), Memory()
    logger.addHandler(memory)
    yield memory
    logger.removeHandler(memory)


@pytest.mark.parametrize("has_spool", [False, True], ids=["memory", "spool"])
def test_a_handler_reports_names_that_are_made_of_data(
    said: Memory, tmp_path: Path, has_spool: bool
) -> None:
    """By default: one warning for 1,200 features, with two of them and what to do; every event
    arrives, and the log call runs no more functions than before."""
    logger, problems = logging.Logger("app"), list[Any]()
    with Collector() as endpoint:
        handler = FreshsuccessHandler(
            auth_key="a",
            api_key="b",
            endpoint=endpoint.url,
            spool=tmp_path / "spool" if has_spool else None,
            on_problem=problems.append,
            batch_events=50,
        )
        logger.addHandler(handler)
        for number in range(1_200):
            event = {"accountId": "a", "userId": "u", "action": "feature", "module": "m"}
            logger.info("used", extra={"event": {**event, "feature": f"export_{number:05d}"}})
        assert handler.flush(20.0)
        assert eventually(lambda: said.records)
        handler.close()
        assert len(endpoint.events) == 1_200
    texts = [
        record.getMessage() for record in said.records if "[many_names]" in record.getMessage()
    ]
    assert len(texts) == 1, texts
    assert texts[0].startswith(
        "feature has more than 500 values in this process, such as 'export_0"
    )
    assert "a fixed text" in texts[0]
    assert problems == []


def test_lines_of_dead_processes_are_sampled(tmp_path: Path) -> None:
    """What is adopted counts as what this process logged: it is the same application's."""
    with processes(tmp_path) as [dead]:
        for number in range(60):
            assert dead.buffer.append(
                encode(
                    {"accountId": "a", "userId": "u", "createdAt": 1, "sessionId": "s"}
                    | {"action": f"action {number}"}
                )
            )
    with processes(tmp_path) as [process]:
        names = process.source._notices.names
        names._most = 50
        process.backlog.adopt_at = 0.0
        process.backlog.adopt_if_due()
        assert process.backlog.head() is not None
        assert [text for text in process.said if "[many_names]" in text] != []
        assert json.dumps(sorted(names._values)) == '["feature", "module", "product"]'
