"""Executors: they run a plan.  ``torch`` in one process on the host; generated C elsewhere."""
