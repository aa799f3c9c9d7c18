"""`fslog help`: print a topic of the guide; `fslog.cli` itself prints the help of a command."""

from __future__ import annotations

import difflib
import importlib.resources
import re
from collections.abc import Sequence

from fslog.cli.names import COMMANDS, TOPICS
from fslog.cli.options import CommandError, CommandParser

_DESCRIPTION = """\
Print a topic of the guide (Markdown), or the help of a command. Without a
topic, list the topics."""

_EPILOG = """\
examples:
  fslog help
  fslog help rules
  fslog help viewer | less
  fslog help send

The exit code is 0, or 2 if there is no such topic or command."""


def run(arguments: Sequence[str]) -> int:
    """Print a topic, or the list of topics."""
    topic = _parser().parse_args(arguments).topic
    if topic is None:
        print(_contents())
    elif topic in TOPICS:
        print(text_of(topic), end="")
    else:
        raise CommandError(_unknown(topic))
    return 0


def text_of(topic: str) -> str:
    """Return a topic's Markdown, without the comments that a forge does not show either."""
    file = importlib.resources.files("fslog") / "guide" / f"{topic}.md"
    return re.sub(r"^ *<!--.*-->\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)


def summary(markdown: str) -> str:
    r"""Return the sentence that follows a topic's title.

    >>> summary("# Rules\n\nRules make events.\n\nMore of it.\n")
    'Rules make events.'
    """
    return markdown.split("\n\n")[1].strip()


def _contents() -> str:
    rows = "\n".join(f"  {topic:17}{summary(text_of(topic))}" for topic in TOPICS)
    return f"topics:\n{rows}\n\n`fslog help TOPIC` prints one."


def _unknown(topic: str) -> str:
    near = difflib.get_close_matches(topic.lower(), [*TOPICS, *COMMANDS], n=1)
    remedy = f"did you mean {near[0]}?" if near else f"the topics are {', '.join(TOPICS)}"
    return f"there is no topic or command {topic!r}; {remedy}"


def _parser() -> CommandParser:
    parser = CommandParser("fslog help", _DESCRIPTION, _EPILOG)
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help="a topic or a command")
    return parser
