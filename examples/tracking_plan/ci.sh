#!/bin/sh
# Hold the source, the tests and the generated files against the plan.
set -eu
cd "$(dirname "$0")"
fslog plan check usage-plan.yaml app.py
fslog plan types usage-plan.yaml | diff usage.py -
fslog plan docs usage-plan.yaml app.py | diff catalogue.md -
python -m pytest --fslog-plan-coverage --fslog-plan-fail-under 100
