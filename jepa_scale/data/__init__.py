"""Data sets: sampling, nesting, loading."""
