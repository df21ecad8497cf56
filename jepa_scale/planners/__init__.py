"""Planners and the scores that they rank plans by."""
