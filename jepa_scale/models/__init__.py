"""Encoders, predictors and their sizes."""
