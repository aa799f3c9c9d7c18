"""A job: exports some numbers of rows, each for a user. Run it as `python app.py USER ROWS...`."""

import json
import logging.config
import os
import sys

import fslog

with open(os.environ.get("LOGGING", "logging.json"), encoding="utf-8") as file:
    logging.config.dictConfig(json.load(file))

user, *numbers = sys.argv[1:]
with fslog.context.bound(accountId="acme", userId=user):
    for number in numbers:
        logging.getLogger("reports").info("exported %s rows", int(number))
