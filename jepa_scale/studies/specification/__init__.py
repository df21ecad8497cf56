"""The study file: dials, arms, budget, tuning, laws; read, checked, frozen."""
