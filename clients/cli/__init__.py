"""The command line: ``plan``.

One file per command; ``app`` puts them together, ``main`` is the entry point.
"""

from memplan.clients.cli.main import main

__all__ = ["main"]
