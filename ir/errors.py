"""The one small tree of errors.

Every message says what is wrong, where, and what to do about it.
"""

__all__ = [
    "DataError",
    "GraphError",
    "MemplanError",
    "MissingExtraError",
    "ModelError",
    "PlanRejectedError",
    "RequestError",
]


class MemplanError(Exception):
    """Base of everything that memplan raises on purpose."""


class GraphError(MemplanError, ValueError):
    """A graph file contradicts the contract: cycle, negative size, unknown field."""


class RequestError(MemplanError, ValueError):
    """What the user asks for is malformed, or contradicts the graph (a usage error)."""


class ModelError(MemplanError, ValueError):
    """A model file cannot be read, trusted or traced."""


class DataError(MemplanError, ValueError):
    """Samples or weights are missing, malformed or not finite."""


class PlanRejectedError(MemplanError, ValueError):
    """A plan does not pass the independent checker."""


class MissingExtraError(MemplanError, ImportError):
    """A feature needs an optional part of memplan that is not installed."""
