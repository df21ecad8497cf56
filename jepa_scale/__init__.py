"""Scaling studies for JEPA world models, checked against worlds whose truth is computable."""

__version__ = "0.1.0"
