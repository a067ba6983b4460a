"""Caps on what a file may claim, so that a hostile one costs little.

All sizes are Python integers; these caps keep every sum far below 2**62, the
range that CP-SAT needs.
"""

__all__ = [
    "MAX_BATCH",
    "MAX_BYTES",
    "MAX_JSON_BYTES",
    "MAX_NAME",
    "MAX_OPERATIONS",
    "MAX_RANK",
    "MAX_TENSORS",
]

MAX_BYTES = 2**48
MAX_JSON_BYTES = 64 * 2**20
MAX_OPERATIONS = 50_000
MAX_TENSORS = 100_000
MAX_RANK = 16
MAX_BATCH = 2**20
MAX_NAME = 400
