"""Bounds on planning regret: one theorem per file, each with ``hypotheses(case)`` and ``value(case)``."""
