"""Forecasters of a study's larger runs, one file each: what they see are cells, what they say are draws."""
