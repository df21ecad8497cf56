"""The command line; ``main`` is its entry point."""

from jepa_scale.cli.app import main

__all__ = ["main"]
