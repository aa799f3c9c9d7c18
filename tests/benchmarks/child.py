"""Run one measure of one contender once: `python -m tests.benchmarks.child SPEC`.

SPEC is JSON. The last line of stdout is the result as JSON, unless an error ends the process.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from tests.benchmarks import contenders, measures


def main(spec: dict[str, Any]) -> None:
    """Measure, print the result, and exit without `atexit`, which is not part of the measure."""
    sizes = measures.Sizes(**{**spec["sizes"], "scale": tuple(spec["sizes"]["scale"])})
    contender = contenders.ALL[spec["contender"]]
    told = measures.ALL[spec["measure"]](contender, spec["url"], sizes)
    sys.stdout.write("\n" + json.dumps(told) + "\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
