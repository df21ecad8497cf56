"""Estimates from other people's embeddings: files too large for memory, read once or twice in blocks of rows."""
