"""A script that imports lines `account,user,rows` from a file.

pip install freshsuccess-logging
python script.py imports.csv
"""

import csv
import logging
import sys

from fslog import FreshsuccessHandler, context

logging.basicConfig(level="INFO", handlers=[logging.StreamHandler(), FreshsuccessHandler()])
log = logging.getLogger("app")


def work(account, user, rows):
    with context.bound(accountId=account, userId=user):
        event = {"action": "feature", "module": "reports", "feature": "import", "rows": int(rows)}
        log.info("imported %s rows", rows, extra={"event": event})


if __name__ == "__main__":
    with open(sys.argv[1], newline="") as file:
        for row in csv.reader(file):
            work(*row)
    # What is pending is delivered when the process ends, by SIGTERM too.
