"""RQ: the user of a job is the one who was bound when it was created."""

from __future__ import annotations

import os
from typing import Any

import rq
import rq.job

from fslog import context
from fslog.integrations.identity import Who, of_message, to_message

__all__ = ["Job", "SimpleWorker"]

META = "fslog"
"""The key of a job's `meta` under which the ids are."""


class Job(rq.job.Job):
    """A job whose user, in the worker, is the one who was bound when it was created.

    Give it to both sides: `Queue(job_class="fslog.integrations.rq.Job")`, and to the worker
    `rq worker --job-class fslog.integrations.rq.Job`, or `RQ_JOB_CLASS` in its environment.

    `meta` carries the bound `accountId`, `userId` and `sessionId` under the key `fslog`, and no
    other property; an id of more than 512 bytes is not valid in the job. Retries, repetitions,
    scheduled and dependent jobs have the user of their creation. Jobs of another class have no
    user. What is not valid under the key is logged once, and the job's events are not sent.

    A work horse, which ends after its job, has the user in its last lines too ("Job OK"). A worker
    that does not fork has it in the job only, unless it is fslog's `SimpleWorker`.
    """

    _is_cleared_by_worker = False

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> Any:
        """Create a job as `rq.job.Job` does, with the bound ids in its `meta`."""
        job = super().create(*args, **kwargs)
        meta = {key: value for key, value in job.meta.items() if key != META}
        job.meta = {**meta, META: ids} if (ids := to_message()) else meta
        return job

    def perform(self) -> Any:
        """Run the job as `rq.job.Job` does, with its user bound."""
        before = context.current()
        try:
            _user.bind(self)
            return super().perform()
        finally:
            # RQ names in a work horse's environment the one job that it runs.
            is_last = os.environ.get("RQ_JOB_ID") == self.id
            if not is_last and not self._is_cleared_by_worker:
                context.clear()
                context.bind(**before)


class SimpleWorker(rq.SimpleWorker):
    """RQ's `SimpleWorker`, whose last lines on a `Job`, such as "Job OK", have its user too."""

    def perform_job(self, job: Any, *args: Any, **kwargs: Any) -> bool:
        """Perform the job as `rq.SimpleWorker` does, and clear the context at its end."""
        job._is_cleared_by_worker = True
        with context.bound():
            return super().perform_job(job, *args, **kwargs)


_user = Who(lambda job: job.meta.get(META), "a job's meta['fslog']", noun="job", check=of_message)
