"""Predictors g: R^k × A → R^k, one per file."""
