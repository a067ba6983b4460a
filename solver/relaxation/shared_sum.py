"""A sum that many rows of a linear program share."""

from __future__ import annotations

from memplan.solver.relaxation.linear import LinearProgram

__all__ = ["SharedSum", "Terms"]

Terms = list[tuple[int, int]]


class SharedSum:
    """A sum of bytes that many rows are about: a variable of its own keeps the program sparse."""

    def __init__(self, program: LinearProgram, terms: Terms) -> None:
        self.program, self.terms = program, terms
        self.most = sum(factor for _, factor in terms)
        self.variable = -1

    def at_most(self, others: Terms, bytes_: int) -> None:
        """Add the row ``sum + others <= bytes_``, if it can be broken at all.

        ``others`` may take terms of the sum out of it.
        """
        if self.most + sum(factor for _, factor in others) <= bytes_:
            return
        if self.variable < 0 and self.most:
            self.variable = self.program.fraction()
            negative = [(variable, -factor) for variable, factor in self.terms]
            self.program.at_least([(self.variable, self.most), *negative], 0)
        own = [(self.variable, -self.most)] if self.most else []
        self.program.at_least([*own, *((v, -factor) for v, factor in others)], -bytes_)
