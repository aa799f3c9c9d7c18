"""The demo's application: a project tracker that several companies use.

Most of its log calls are ordinary ones that rules of the configuration turn into events; a few
specify their event. The user is bound to the context once per request.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from functools import partial

from fslog import context

_web = logging.getLogger("tracker.web")
_reports = logging.getLogger("tracker.reports")
_tasks = logging.getLogger("tracker.tasks")
_jobs = logging.getLogger("tracker.jobs")

_USERS = {
    "acme": ("ann", "bob", "carla"),
    "globex": ("dmitri", "esther"),
    "initech": ("fatima", "george"),
}
_SEED = 1815


def activities(count: int) -> Iterator[Callable[[], None]]:
    """Yield `count` functions that each log one event; one of them also logs an invalid event.

    The sequence is the same in every run.
    """
    chance = random.Random(_SEED)
    people = [(account, user) for account, users in _USERS.items() for user in users]
    visits = [visit for visit, weight in _VISITS.items() for _ in range(weight)]
    for number in range(count):
        account, user = chance.choice(people)
        jobs = [_send_digest] if number == count // 3 else []
        jobs += [_warm_cache] if chance.random() < 0.2 else []
        yield partial(_act, account, user, chance.choice(visits), jobs, chance)


def _act(
    account: str,
    user: str,
    visit: Callable[[random.Random], None],
    jobs: list[Callable[[], None]],
    chance: random.Random,
) -> None:
    # As a middleware does: all log calls in the block belong to this user.
    with context.bound(accountId=account, userId=user):
        visit(chance)
    for job in jobs:
        job()


def _open_page(chance: random.Random) -> None:
    path = chance.choice(("/board/sort", "/board/filter", "/wiki/edit", "/wiki/search"))
    _web.info('"%s %s" %d', "POST", path, 200)


def _export(chance: random.Random) -> None:
    _reports.info("exported %d rows as %s", chance.randrange(10, 900), chance.choice(_FORMATS))


def _move_tasks(chance: random.Random) -> None:
    _tasks.info("moved %d tasks to %s", chance.randrange(1, 9), chance.choice(("doing", "done")))


def _create_task(chance: random.Random) -> None:
    priority = chance.choice(("low", "high"))
    event = {"action": "feature", "module": "tasks", "feature": "create", "priority": priority}
    _tasks.info("created a task", extra={"event": event})


def _leave_module(chance: random.Random) -> None:
    module = chance.choice(("board", "wiki", "reports"))
    event = {"module": module, "timeSpent": chance.randrange(2_000, 300_000)}
    _web.info("left %s", module, extra={"action": "moduleEnd", "event": event})


def _sign_in(chance: random.Random) -> None:
    details = {"role": chance.choice(("owner", "member")), "language": "en"}
    _web.info("signed in", extra={"action": "identifyUser", "details": details})


def _warm_cache() -> None:
    """Log something that no user did: no rule matches, so it is not an event."""
    _jobs.info("cache warmed in %d ms", 12)


def _send_digest() -> None:
    """Log an event without a user, as a job outside of any request does by mistake."""
    event = {"action": "feature", "module": "mail", "feature": "send digest", "accountId": "acme"}
    _jobs.info("sent the weekly digest", extra={"event": event})


_FORMATS = ("csv", "xlsx", "pdf")
_VISITS = {
    _open_page: 5,
    _export: 3,
    _move_tasks: 3,
    _create_task: 2,
    _leave_module: 2,
    _sign_in: 1,
}
