"""Everything of W&B: runs mirrored there, dashboards, offline runs uploaded, and tables made of W&B runs."""
