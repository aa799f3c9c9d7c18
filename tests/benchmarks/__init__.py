"""How fast fslog is beside what else can be had: `python -m tests.benchmarks --help`.

Every contender runs in a process of its own, in turns (A B C A B C...), against one endpoint in
another process. What counts are ratios within one round; their medians over the rounds are shown.
"""
