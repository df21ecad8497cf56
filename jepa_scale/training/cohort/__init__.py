"""Cohorts: several runs of one architecture that take their training steps together."""
