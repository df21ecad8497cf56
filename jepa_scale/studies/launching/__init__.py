"""Launchers: where and how the workers of a study are started."""
