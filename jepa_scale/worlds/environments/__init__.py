"""Gymnasium environments as worlds: copies of them, their states, goals and episodes."""
