"""RQ: jobs, created and performed for real, without Redis and a worker."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from fslog import context
from fslog.integrations.identity import UNKNOWN
from fslog.integrations.rq import Job, SimpleWorker

ANN = {"accountId": "acme", "userId": "ann"}
BOB = {"accountId": "acme", "userId": "bob"}


def look() -> dict[str, Any]:
    """Return what is bound in a job, which leaves something else bound."""
    found = dict(context.current())
    context.bind(userId="of the job")
    return found


def fail() -> None:
    """Raise with another user bound."""
    context.bind(userId="of the job")
    raise RuntimeError


@pytest.fixture(autouse=True)
def _nobody() -> Iterator[None]:
    context.clear()
    yield
    context.clear()


def create(ids: dict[str, Any], function: Any = look, **kwargs: Any) -> Job:
    """Create a job of a user, and return it as a worker fetches it."""
    with Redis() as redis, context.bound(**ids):
        job = Job.create(function, connection=redis, **kwargs)
        stored = {name.encode(): value for name, value in job.to_dict().items()}
        fetched = Job(job.id, connection=redis)
        fetched.restore(stored)
    assert isinstance(fetched, Job)
    return fetched


def test_a_job_has_the_user_of_its_creation() -> None:
    """In a worker that does not fork, its context is back after the job; nobody's is nobody's."""
    jobs = [create(ids) for ids in (ANN, {}, {**BOB, "sessionId": "s", "plan": "gold"}, UNKNOWN)]
    context.bind(plan="of the process")
    seen = []
    for job in jobs:
        seen.append(job.perform())
        assert dict(context.current()) == {"plan": "of the process"}
    assert seen == [ANN, {}, {**BOB, "sessionId": "s"}, UNKNOWN]


def test_a_job_that_fails() -> None:
    """What it has bound is unbound; if it is retried, it is again its user's."""
    job = create(ANN, fail)
    context.bind(**BOB)
    with pytest.raises(RuntimeError):
        job.perform()
    assert dict(context.current()) == BOB


def test_the_end_of_a_work_horse(monkeypatch: pytest.MonkeyPatch) -> None:
    """It logs its last lines after the job, as the job's user, and ends."""
    job = create(ANN)
    monkeypatch.setenv("RQ_JOB_ID", job.id)
    other = create(BOB)  # as a job that runs another one, by a queue with `is_async=False`
    context.bind(plan="of the process")
    assert other.perform() == BOB
    assert dict(context.current()) == {"plan": "of the process"}
    assert job.perform() == ANN
    assert dict(context.current()) == {**ANN, "userId": "of the job"}


def test_a_worker_that_does_not_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it logs after a job, before the next one, has the job's user; then its own is back."""
    seen = []

    def perform_job(worker: Any, job: Job, *args: Any) -> bool:
        job.perform()
        seen.append(dict(context.current()))
        return args == ("queue", "execution")

    monkeypatch.setattr("rq.SimpleWorker.perform_job", perform_job)
    worker = SimpleWorker.__new__(SimpleWorker)
    context.bind(plan="of the process")
    for ids in (ANN, {}, BOB):
        assert worker.perform_job(create(ids, print), "queue", "execution")
        assert dict(context.current()) == {"plan": "of the process"}
    assert seen == [ANN, {}, BOB]


def test_the_meta_of_the_application() -> None:
    """It stays, and is not changed where it was given."""
    meta = {"progress": 0}
    job = create(ANN, meta=meta)
    assert meta == {"progress": 0}
    assert job.meta == {"progress": 0, "fslog": ANN}
    assert create({}, meta=job.meta).meta == {"progress": 0}
    assert create(BOB, meta=job.meta).meta == {"progress": 0, "fslog": BOB}


@pytest.mark.parametrize("meta", [{"fslog": 7}, {"fslog": {"userId": 7}}, None, ["fslog"]])
def test_a_meta_that_is_not_valid(
    meta: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job has no user, which is logged once."""
    monkeypatch.setattr("fslog.integrations.rq._user._logged", {})
    for _ in range(2):
        job = create(ANN)
        job.meta = meta
        assert job.perform() == UNKNOWN
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("fslog", logging.WARNING)
    assert record.getMessage().startswith("a job's meta['fslog'] ")


def test_a_job_from_elsewhere() -> None:
    """Without the key a job has no user."""
    job = create(ANN)
    job.meta = {}
    context.bind(**BOB)
    assert job.perform() == {}
