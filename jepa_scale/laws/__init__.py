"""Scaling laws R(k, n) fitted to a run table: cells, laws, fits, cluster bootstrap, forecasts and comparisons."""
