"""Addresses for rectangles of lifetime x bytes: ``pack`` runs the techniques in turn."""

from memplan.solver.packing._pack import Packing, Proof, least_packing, pack, pack_within
from memplan.solver.packing.answer import answer
from memplan.solver.packing.problem import Problem
from memplan.solver.packing.rectangle import Rectangle, clique_bound
from memplan.solver.packing.techniques import PackingTechniques

__all__ = [
    "Packing",
    "PackingTechniques",
    "Problem",
    "Proof",
    "Rectangle",
    "answer",
    "clique_bound",
    "least_packing",
    "pack",
    "pack_within",
]
