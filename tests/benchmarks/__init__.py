"""The speed of fslog compared with alternatives: `python -m tests.benchmarks --help`.

Each contender runs in its own process, interleaved (A B C A B C...), against one endpoint in
another process. The results are ratios within one round, shown as medians over the rounds.
"""
