"""Processes of a run: exit codes, ranks, their process group, and starting them."""
