"""tracing: from a model file to an OpGraph.  Needs torch."""

from __future__ import annotations

from memplan.tracing.loaded import InputSpec, LoadedModel
from memplan.tracing.settings import TraceSettings
from memplan.tracing.trace import trace

__all__ = ["InputSpec", "LoadedModel", "TraceSettings", "trace"]
