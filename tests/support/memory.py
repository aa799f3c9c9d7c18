"""A handler that keeps records."""

from __future__ import annotations

import logging


class Memory(logging.Handler):
    """Keep records as they were emitted."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
