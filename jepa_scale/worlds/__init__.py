"""Worlds: each gives observations and trajectories, and the exact ones their whole truth."""
