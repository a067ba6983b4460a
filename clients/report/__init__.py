"""Answers for people and for scripts.  Knows the contracts only."""
