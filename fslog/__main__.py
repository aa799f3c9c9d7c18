"""`python -m fslog`: the command line."""

import sys

from fslog.cli import main

if __name__ == "__main__":
    sys.exit(main())
