"""The events that a command reads: from files, from a running viewer, or from a spool."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from fslog.cli.options import CommandError
from fslog.cli.output import Printer, count
from fslog.cli.upload.lines import BATCH_BYTES
from fslog.cli.upload.ndjson import InputFile, Reader, input_files
from fslog.collector.judge import parse_body

_PAGE = 1_000
_TIMEOUT = 30.0


class Arrivals:
    """Events from one kind of source, in order, and how many lines were none.

    Args:
        options: as `add_sources` has them parsed.

    Raises:
        CommandError: a source cannot be read; from `events`, too.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.label: str
        self.invalid: int = 0
        """How many lines `events` has left out, because the endpoint would drop them."""
        spool = getattr(options, "spool", None)
        given = [bool(options.files), options.viewer is not None, spool is not None]
        if sum(given) != 1:
            names = ["FILE", "--viewer", "--spool"][: 3 if hasattr(options, "spool") else 2]
            raise CommandError(f"expected events from exactly one of {', '.join(names)}")
        self._lines: Iterator[bytes]
        if options.files:
            files = input_files(options.files)
            self.label = files[0].label
            if len(files) > 1:
                self.label += f" and {count(len(files) - 1, 'other file')}"
            self._lines = _of_files(files)
        elif spool is not None:
            self.label = spool
            self._lines = _of_spool(spool)
        else:
            self.label = f"the viewer at {options.viewer}"
            self._lines = _of_viewer(options.viewer)

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the valid events."""
        for line in self._lines:
            parsed = parse_body(line, None)
            self.invalid += len(parsed.invalid)
            yield from parsed.events


def add_sources(parser: argparse.ArgumentParser, *, spool: bool) -> None:
    """Add the arguments that say where events come from."""
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="NDJSON, plain or gzip; - for standard input"
    )
    parser.add_argument("--viewer", metavar="URL", help="read the events that a viewer keeps")
    if spool:
        parser.add_argument("--spool", metavar="DIR", help="read the events that wait in a spool")


def report_invalid(arrivals: Arrivals) -> None:
    """Print on stderr how many lines were left out."""
    if arrivals.invalid:
        text = f"{count(arrivals.invalid, 'invalid line')} left out; fslog validate explains them"
        Printer(sys.stderr).line((text, "yellow"))


def _of_files(files: list[InputFile]) -> Iterator[bytes]:
    for file in files:
        with Reader(file, BATCH_BYTES) as reader:
            for line in reader.lines():
                yield line.raw if line.is_whole else b"{"  # too long, and so invalid


def _of_spool(directory: str) -> Iterator[bytes]:
    from fslog.cli.spool.contents import read_contents, waiting_lines

    for _, lines, rejected in waiting_lines(read_contents(directory)):
        yield from lines
        yield from (line.text for line in rejected)


def _of_viewer(url: str) -> Iterator[bytes]:
    """Yield the lines of the entries that a viewer keeps, the oldest first."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CommandError("--viewer: expected the viewer's URL, such as http://127.0.0.1:8020")
    base = f"{parts.scheme}://{parts.netloc}/api/events?order=asc&limit={_PAGE}"
    after, is_more = 0, True
    while is_more:
        page = _page(f"{base}&after={after}")
        for entry in page["entries"]:
            after = entry["id"]
            yield json.dumps(entry["event"]).encode()
        is_more = page["more"] and bool(page["entries"])


def _page(url: str) -> dict[str, Any]:
    import urllib3

    try:
        with urllib3.PoolManager(retries=False, timeout=_TIMEOUT) as pool:
            answer = pool.request("GET", url, redirect=False)
            found = json.loads(answer.data) if answer.status == 200 else {}
            if not {"entries", "more"} <= found.keys():
                raise ValueError(f"it answers {answer.status} to a request of its API")
    except (urllib3.exceptions.HTTPError, ValueError, AttributeError) as error:
        host = urlsplit(url).netloc
        raise CommandError(f"{host} is not a viewer that can be reached: {error}", 1) from None
    return dict(found)
