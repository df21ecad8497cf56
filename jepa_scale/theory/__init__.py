"""Exact theory in float64: co-occurrence, spectrum, planning and bounds of finite worlds."""
