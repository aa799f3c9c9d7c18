"""The numbers of a delivery, as they were checked."""

from __future__ import annotations

from dataclasses import dataclass

from fslog.spooldir import SpoolDirectory


@dataclass(frozen=True)
class Settings:
    """The numbers of a delivery; README, "Configuration", says what each is for."""

    encoding: str | None
    level: int
    batch_events: int
    batch_bytes: int
    flush_interval: float
    buffer_bytes: int
    block_timeout: float | None
    max_backoff: float
    shutdown_timeout: float
    spool: SpoolDirectory | None = None
    spool_max_bytes: int = 0
    spool_fsync: str = "never"
