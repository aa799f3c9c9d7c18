"""Celery: messages and tasks, published and traced for real, without a worker."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import celery
import pytest
from celery import signals
from celery.app.trace import build_tracer

from fslog import context
from fslog.integrations.celery import HEADER, identify
from fslog.integrations.identity import UNKNOWN

ANN = {"accountId": "acme", "userId": "ann"}
BOB = {"accountId": "acme", "userId": "bob"}

Seen = list[tuple[str, dict[str, Any]]]


class Site:
    """An application of Celery, its broker in memory, and what its tasks have seen."""

    def __init__(self) -> None:
        self.app = celery.Celery("app", broker=f"memory://{uuid.uuid4()}", set_as_current=False)
        self.app.conf.task_default_queue = uuid.uuid4().hex
        self.app.conf.task_store_eager_result = False
        self.seen: Seen = []

        @self.app.task(bind=True, name="task", shared=False)
        def run(task: Any, *names: str, then: str = "") -> str:
            return self._run(task, *names, then=then)

        self.task: Any = run

    def _run(self, task: Any, *names: str, then: str = "") -> str:
        self.see(names[-1])
        if "bind" in then:
            context.bind(**BOB)
        if "retry" in then and task.request.retries < 2:
            raise task.retry(countdown=0)
        if then == "fail":
            raise RuntimeError
        if then == "replace":
            raise task.replace(self.task.s("replaced"))
        if then == "publish":
            with context.bound(**BOB):
                self.task.delay("published")
        return names[-1]

    def see(self, name: str) -> None:
        self.seen.append((name, dict(context.current())))

    def next(self) -> Any:
        """Return the next message, or None."""
        with self.app.connection_for_read() as connection:
            queue = connection.SimpleQueue(self.app.conf.task_default_queue)
            try:
                message = queue.get_nowait()
            except queue.Empty:
                return None
            message.ack()
            return message

    def work(self, change: Callable[[dict[str, Any]], object] = lambda headers: None) -> Seen:
        """Run tasks as a worker does until there is none; return what they have seen."""
        context.bind(plan="of this process")
        while message := self.next():
            headers = dict(message.headers)
            change(headers)
            args, kwargs, embed = message.payload
            request = {**headers, **embed, "is_eager": False, "delivery_info": {}}
            build_tracer(self.task.name, self.task, app=self.app)(
                headers["id"], args, kwargs, request
            )
            assert dict(context.current()) == {}
        return self.seen


@pytest.fixture
def site() -> Iterator[Site]:
    """Yield an application; at the end no signal is connected any more."""
    context.clear()
    identify()
    identify()
    yield Site()
    context.clear()
    for signal in (signals.before_task_publish, signals.task_prerun, signals.task_postrun):
        assert signal.disconnect(dispatch_uid="fslog")
        assert not signal.disconnect(dispatch_uid="fslog")


def publish(site: Site, ids: dict[str, Any], *args: Any, **kwargs: Any) -> None:
    """Publish a task of a user, and check that this changes nothing for the publisher."""
    context.clear()
    context.bind(**ids)
    site.task.delay(*args, **kwargs)
    assert dict(context.current()) == ids
    context.clear()


def test_a_task_has_the_user_of_its_publication(site: Site) -> None:
    """Of what is bound, the ids and the session travel; nobody's task is nobody's."""
    publish(site, ANN, "ann")
    publish(site, {}, "nobody")
    publish(site, {**BOB, "sessionId": "s", "plan": "gold"}, "bob")
    publish(site, {"userId": "cleo"}, "cleo")
    assert site.work() == [
        ("ann", ANN),
        ("nobody", {}),
        ("bob", {**BOB, "sessionId": "s"}),
        ("cleo", {"userId": "cleo"}),
    ]


def test_ids_travel_as_strings(site: Site) -> None:
    """What is no id of moderate length is None, and so never one of `defaults`."""
    key = uuid.uuid4()
    publish(site, {"accountId": 7, "userId": key}, "converted")
    publish(site, UNKNOWN, "unknown")
    publish(site, {"accountId": "é" * 257, "userId": "\ud800"}, "too long")
    publish(site, {"accountId": "é" * 256, "userId": "", "sessionId": object()}, "empty")
    assert site.work() == [
        ("converted", {"accountId": "7", "userId": str(key)}),
        ("unknown", UNKNOWN),
        ("too long", UNKNOWN),
        ("empty", {"accountId": "é" * 256, "userId": None}),
    ]


def test_a_retry_has_the_user_of_its_task(site: Site) -> None:
    """It is the same task, whatever was bound in it meanwhile."""
    publish(site, ANN, "ann", then="bind, retry")
    publish(site, {}, "nobody", then="bind, retry")
    assert sorted(site.work(), key=str) == [("ann", ANN)] * 3 + [("nobody", {})] * 3


def test_headers_that_are_given(site: Site) -> None:
    """They name nobody, such as those of a task that publishes another one."""
    site.task.apply_async(("nobody",), headers={HEADER: BOB})
    with context.bound(**ANN):
        site.task.apply_async(("ann",), headers={HEADER: BOB, "other": "header"})
    assert site.work() == [("nobody", {}), ("ann", ANN)]


def test_a_replacement_has_the_user_of_its_task(site: Site) -> None:
    """A task that replaces itself is the same task."""
    publish(site, ANN, "ann", then="replace")
    assert site.work() == [("ann", ANN), ("replaced", ANN)]


def test_a_task_that_a_task_publishes(site: Site) -> None:
    """It has the user who is bound there."""
    publish(site, ANN, "ann", then="publish")
    assert site.work() == [("ann", ANN), ("published", BOB)]


def test_chains_and_groups(site: Site) -> None:
    """All of their tasks have the user of the publication."""
    with context.bound(**ANN):
        celery.chain(site.task.s("one"), site.task.s("two"), site.task.s("three"))()
    celery.chain(site.task.s("four"), site.task.s("five"))()
    with context.bound(**BOB):
        celery.group(site.task.s("six"), site.task.s("seven"))()
        site.task.apply_async(("eight",), link=site.task.s("nine"))
    assert sorted(site.work()) == [
        ("eight", BOB),
        ("five", {}),
        ("four", {}),
        ("nine", BOB),
        ("one", ANN),
        ("seven", BOB),
        ("six", BOB),
        ("three", ANN),
        ("two", ANN),
    ]


def test_what_celery_logs_about_a_task(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines "succeeded", "failed" and "retry" have the user of the task."""

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            words = record.getMessage().split("]")[1].split()
            site.see(words[0])

    log = logging.getLogger("celery.app.trace")
    monkeypatch.setattr(log, "level", logging.INFO)
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "handlers", [Watch()])
    log.manager._clear_cache()  # type: ignore[attr-defined]
    publish(site, ANN, "ann")
    publish(site, BOB, "bob", then="fail")
    publish(site, ANN, "ann", then="retry")
    seen = [pair for pair in site.work() if pair[0] not in ("ann", "bob")]
    log.manager._clear_cache()  # type: ignore[attr-defined]
    assert seen == [("succeeded", ANN), ("raised", BOB), *[("retry:", ANN)] * 2, ("succeeded", ANN)]


@pytest.mark.parametrize("sent", [7, "ann", ["ann"], {"userId": 7}, {"userId": "x" * 513}])
def test_a_header_that_is_not_valid(
    sent: Any, site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names nobody, which is logged once; other properties in it are ignored."""
    monkeypatch.setattr("fslog.integrations.celery._user._logged", {})
    for _ in range(2):
        publish(site, ANN, "ann")
    assert site.work(lambda headers: headers.update({HEADER: sent})) == [("ann", UNKNOWN)] * 2
    (record,) = [one for one in caplog.records if one.name == "fslog"]
    assert record.getMessage() == (
        "a task's header 'fslog' holds no valid ids: the events of such a task have no user and "
        "are not sent. Logged once"
    )


def test_a_message_from_elsewhere(site: Site) -> None:
    """Without the header a task has no user, and what else the header holds is ignored."""
    publish(site, ANN, "ann")
    site.work(lambda headers: headers.pop(HEADER))
    publish(site, ANN, "ann")
    site.work(lambda headers: headers.update({HEADER: {**BOB, "plan": "gold", "action": "x"}}))
    assert site.seen == [("ann", {}), ("ann", BOB)]


@pytest.mark.parametrize("then", ["", "bind", "fail", "bind, retry"])
def test_an_eager_task(then: str, site: Site) -> None:
    """It has the context of its caller, who gets it back."""
    site.app.conf.task_always_eager = True
    context.bind(**ANN, plan="gold")
    site.task.delay("eager", then=then)
    assert dict(context.current()) == {**ANN, "plan": "gold"}
    assert site.seen[0] == ("eager", {**ANN, "plan": "gold"})
