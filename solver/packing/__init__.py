"""Addresses for rectangles of lifetime x bytes: ``pack`` runs the techniques in turn."""

from memplan.solver.packing._pack import Packing, pack
from memplan.solver.packing.rectangle import Rectangle, clique_bound

__all__ = ["Packing", "Rectangle", "clique_bound", "pack"]
