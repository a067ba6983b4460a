"""Caps on what a file may claim, so that a hostile one costs little.

All sizes are Python integers; these caps keep every sum far below 2**62, the
range that CP-SAT needs.
"""

__all__ = [
    "MAX_ACCESSES",
    "MAX_BATCH",
    "MAX_BUFFERS",
    "MAX_BYTES",
    "MAX_CHANNELS",
    "MAX_JSON_BYTES",
    "MAX_NAME",
    "MAX_COVERED",
    "MAX_FRONTIER",
    "MAX_OPERATIONS",
    "MAX_RANK",
    "MAX_STEPS",
    "MAX_TENSORS",
]

MAX_BYTES = 2**48
MAX_JSON_BYTES = 64 * 2**20
MAX_OPERATIONS = 50_000
MAX_TENSORS = 100_000
MAX_RANK = 16
#: Updates that one alternative covers.
MAX_COVERED = 16
MAX_BATCH = 2**20
MAX_NAME = 400
#: Channels of all axes of all layers of a graph.
MAX_CHANNELS = 2**22
#: Of a plan: its steps, its buffers, and the buffers that its steps name.
MAX_STEPS = 100_000
MAX_BUFFERS = 200_000
MAX_ACCESSES = 1_000_000
#: Budgets of a frontier.
MAX_FRONTIER = 1_000
