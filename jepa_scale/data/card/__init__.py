"""Card of a recording: what it holds, what its policy does, how far it reaches, and what would ruin training on it."""
