"""Celery: the user of a task is the one who was bound when it was published."""

from __future__ import annotations

from typing import Any

from fslog import context
from fslog.integrations.identity import Who, of_message, to_message

__all__ = ["identify"]

HEADER = "fslog"
"""The header of a task's message that carries the ids."""

_BEFORE = "fslog_before"
"""The attribute of an eager task's request with what its caller has bound."""


def identify() -> None:
    """Bind in each task of Celery, in the worker, the user who was bound when it was published.

    Call it in the module of the application, which publishers and workers import. It connects
    signals, and so concerns all Celery applications of the process; another call changes nothing.

    A message carries the bound `accountId`, `userId` and `sessionId` in the header `fslog`, and no
    other property; an id of more than 512 bytes is not valid in the task. A retry has the user of
    its task. A task that is published by a task, by a chain or by a chord has the user who is bound
    there. Beat's tasks, those from a process that has not called `identify`, and those of message
    protocol 1 have no user.

    In the worker, the context is cleared before the task and after it, after the lines "succeeded",
    "failed" and "retry" of Celery. An eager task has the context of its caller, who gets it back.
    A header that is not valid is logged once, and the events of its task are not sent.
    """
    from celery import signals  # type: ignore[import-untyped]

    for signal, receiver in (
        (signals.before_task_publish, _publish),
        (signals.task_prerun, _begin),
        (signals.task_postrun, _end),
    ):
        signal.connect(receiver, dispatch_uid="fslog")


def _publish(headers: Any = None, **_: Any) -> None:
    from celery import current_task

    request: Any = current_task.request if current_task else None
    # With the id of the running task it is that task again: a retry, or its replacement. What the
    # task itself has bound meanwhile may be somebody else's.
    is_same = request and request.id == headers.get("id") is not None
    ids = request.get(HEADER) if is_same else to_message()
    if ids:
        headers[HEADER] = ids
    else:
        headers.pop(HEADER, None)


def _begin(task: Any = None, **_: Any) -> None:
    if task.request.is_eager:
        setattr(task.request, _BEFORE, context.current())
    else:
        _user.bind(task.request)


def _end(task: Any = None, **_: Any) -> None:
    context.clear()
    if task.request.is_eager:
        context.bind(**task.request.get(_BEFORE, {}))


_user = Who(
    lambda request: request.get(HEADER), "a task's header 'fslog'", noun="task", check=of_message
)
