"""Encoders f: observation → R^k, one per file."""
