"""What the command line knows by name: commands and the topics of the guide."""

from __future__ import annotations

COMMANDS = {
    "demo": "run a small application and show its events arriving",
    "viewer": "show arriving events and their problems in a web page",
    "check": "check a logging configuration and explain its events",
    "run": "run a command with fslog's handlers beside its logging",
    "record": "run a command and keep some records of each log call",
    "suggest": "propose rules for the records that were kept",
    "ping": "check whether the endpoint is reachable",
    "send": "upload events from files",
    "validate": "check the events in files",
    "spool": "inspect and send the events in a spool directory",
    "plan": "infer, compare and describe a tracking plan",
    "help": "print a topic of the guide",
}
"""The name of each command, and its line in `fslog --help`."""

TOPICS = (
    "events",
    "rules",
    "plan",
    "context",
    "time",
    "configuration",
    "delivery",
    "spool",
    "viewer",
    "cli",
    "testing",
    "privacy",
    "deploying",
    "monitoring",
    "relays",
    "performance",
    "design",
    "troubleshooting",
)
"""The topics of the guide in a reader's order; each is a file of `fslog/guide`."""
