"""A plan as a C project that builds by itself."""

from __future__ import annotations

from memplan.clients.export.c.project import Project, check_folder, write_project

__all__ = ["Project", "check_folder", "write_project"]
