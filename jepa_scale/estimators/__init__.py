"""Estimates of spectrum and risk from held-out embeddings, with standard errors."""
