"""`python -m fslog`: the command line."""

import sys

from fslog.cli import main

sys.exit(main())
