"""The numbers of a delivery, as they were checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fslog.spool.directory import SpoolDirectory
from fslog.spool.share import Spool


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
    ca_certs: str | None = None
    spool: SpoolDirectory | None = None
    spool_max_bytes: int = 0
    spool_fsync: str = "never"

    def make_spool(self, clock: Callable[[], float]) -> Spool | None:
        """Return one process's share of the spool's directory; None without a spool."""
        if self.spool is None:
            return None
        return Spool(
            self.spool,
            max_bytes=self.spool_max_bytes,
            fsync=self.spool_fsync,
            chunk_bytes=self.batch_bytes,
            clock=clock,
        )
