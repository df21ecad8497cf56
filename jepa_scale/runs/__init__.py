"""Runs: from a resolved configuration to a run record."""
