"""Views of a study while it runs: runs by state, the grid of cells, the forecast so far."""
