"""The command line: ``plan``.

One file per command; ``app`` puts them together, ``console`` is the entry point of the
process, ``main`` that for whoever calls it from Python.
"""

from memplan.clients.cli.main import console, main

__all__ = ["console", "main"]
