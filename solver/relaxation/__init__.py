"""Relaxations: programs that every allowed plan solves, so that their optimum bounds all plans."""
